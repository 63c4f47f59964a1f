// What all C subjects share: the channel, and the list of what is wrong.
#ifndef SUBJECT_H
#define SUBJECT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int subject_channel = -1;
static bool subject_restored;   // the request came to a clone, not to the original
static char subject_request[4096];
static char subject_wrong[16384];
static char subject_more[8192]; // further fields of the answer, each with a comma before it
static pthread_mutex_t subject_lock = PTHREAD_MUTEX_INITIALIZER;

static inline int channel_number(void)
{
    const char *text = getenv("SNAPSHOTS_CHANNEL");
    if (text == NULL)
    {
        fputs("SNAPSHOTS_CHANNEL is not set\n", stderr);
        _exit(2);
    }
    return atoi(text);
}

static inline void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "set-up failed: %s: %s\n", what, strerror(errno));
    _exit(2);
}

#define MUST(condition) must((condition), #condition)

__attribute__((format(printf, 2, 3))) static inline void check(bool condition, const char *format, ...)
{
    if (condition)
        return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c != 0; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
            *c = '\'';
    pthread_mutex_lock(&subject_lock);
    size_t used = strlen(subject_wrong);
    snprintf(subject_wrong + used, sizeof subject_wrong - used, "%s\"%s\"", used == 0 ? "" : ",", text);
    pthread_mutex_unlock(&subject_lock);
}

// The state is set up: say so.
static inline void say_ready(void)
{
    subject_channel = channel_number();
    MUST(write(subject_channel, "ready\n", 6) == 6);
}

static inline void request_came(ssize_t bytes)
{
    check(bytes > 0, "read of the channel: %zd, %s", bytes, bytes < 0 ? strerror(errno) : "end of file");
    subject_restored = strstr(subject_request, "\"restored\":true") != NULL;
}

// Here the subject is frozen; it returns in the clone. Returns what read(2) returned.
static inline ssize_t await_request(void)
{
    ssize_t bytes = read(subject_channel, subject_request, sizeof subject_request - 1);
    request_came(bytes);
    return bytes;
}

static inline void ready_and_wait(void)
{
    say_ready();
    await_request();
}

static inline void answer(void)
{
    char text[sizeof subject_wrong + sizeof subject_more + 64];
    int length = subject_wrong[0] == 0
        ? snprintf(text, sizeof text, "{\"ok\":true%s}\n", subject_more)
        : snprintf(text, sizeof text, "{\"ok\":false,\"wrong\":[%s]%s}\n", subject_wrong, subject_more);
    if (write(subject_channel, text, (size_t)length) != length)
        _exit(3);
    _exit(subject_wrong[0] == 0 ? 0 : 1);
}

static inline int64_t now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

// Polls a condition that no event announces, for at most ten seconds.
#define EVENTUALLY(condition) ({ \
    int64_t until_ = now_ms() + 10000; \
    while (!(condition) && now_ms() < until_) \
        usleep(2000); \
    (condition); })

#endif
