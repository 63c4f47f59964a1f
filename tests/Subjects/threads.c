// Threads that wait in every kind of place: what each call returns when it is woken after the restore, and whose thread it still is.
#include "subject.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { FUTEX, FUTEX_TIMED, EPOLL, NANOSLEEP, SLEEP_UNTIL, READ, ACCEPT, POLL, CONDITION, SPIN, ROBUST, COUNT };

static const char *names[COUNT] =
    { "in-futex", "in-futex-timed", "in-epoll", "in-nanosleep", "in-sleep-until", "in-read", "in-accept", "in-poll", "in-condition", "in-spin", "in-robust" };

static uint32_t futex_word, never_word;
static int epoll, event, pipe_ends[2], listener, poll_event;
static pthread_mutex_t condition_lock = PTHREAD_MUTEX_INITIALIZER, robust;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static bool condition_met;
static volatile bool stop_spinning, let_robust_go;
static volatile uint64_t turns;
static volatile int64_t sleep_until_ms;
static _Thread_local int mine;
static volatile pid_t tids[COUNT];

static void block(int who)
{
    char text[8] = "";
    struct epoll_event ready = { 0 };
    struct timespec time = { 1, 500000000 }, left = { 0, 0 };
    struct pollfd polled = { poll_event, POLLIN, 0 };
    long result;
    switch (who)
    {
        case FUTEX:
            result = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
            check(result == 0 || errno == EAGAIN, "futex: %s", strerror(errno));
            check(futex_word == 1, "futex: woken with the word still %u", futex_word);
            break;
        case FUTEX_TIMED: // interrupted by design: the kernel keeps the rest of a relative time where no snapshot can see it
            result = syscall(SYS_futex, &never_word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0);
            check(result == -1 && (errno == ETIMEDOUT || errno == EINTR), "futex with a timeout: %ld, %s", result, strerror(errno));
            break;
        case EPOLL:
            result = epoll_wait(epoll, &ready, 1, -1);
            while (result == -1 && errno == EINTR)
                result = epoll_wait(epoll, &ready, 1, -1);
            check(result == 1 && ready.data.u64 == 0x1234567890UL, "epoll_wait: %ld, data %" PRIx64, result, (uint64_t)ready.data.u64);
            break;
        case NANOSLEEP:
            result = nanosleep(&time, &left);
            check(result == 0 || errno == EINTR, "nanosleep: %s", strerror(errno));
            break;
        case SLEEP_UNTIL:
            clock_gettime(CLOCK_MONOTONIC, &time);
            time.tv_sec += 1;
            sleep_until_ms = time.tv_sec * 1000 + time.tv_nsec / 1000000;
            result = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
            check(result == 0 && now_ms() >= sleep_until_ms, "clock_nanosleep: %ld, %" PRId64 " ms early", result, sleep_until_ms - now_ms());
            break;
        case READ:
            result = read(pipe_ends[0], text, sizeof text);
            check(result == 5 && memcmp(text, "hello", 5) == 0, "read: %ld, %s", result, strerror(errno));
            break;
        case ACCEPT:
            result = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            check(result >= 0 && read((int)result, text, sizeof text) == 3, "accept: %ld, %s", result, strerror(errno));
            break;
        case POLL:
            result = poll(&polled, 1, -1);
            while (result == -1 && errno == EINTR)
                result = poll(&polled, 1, -1);
            check(result == 1 && polled.revents == POLLIN, "poll: %ld, events %x", result, (unsigned)polled.revents);
            break;
        case CONDITION:
            pthread_mutex_lock(&condition_lock);
            while (!condition_met)
                pthread_cond_wait(&condition, &condition_lock);
            pthread_mutex_unlock(&condition_lock);
            break;
        case SPIN:
            while (!stop_spinning)
                turns++;
            break;
        case ROBUST:
            pthread_mutex_lock(&robust);
            while (!let_robust_go)
                usleep(1000);
            break; // ends with the mutex held
    }
}

static void *run(void *argument)
{
    int who = (int)(intptr_t)argument;
    mine = who * 1000 + 1;
    MUST(prctl(PR_SET_NAME, names[who]) == 0);
    pid_t tid = gettid();
    pthread_t self = pthread_self();
    tids[who] = tid;
    block(who);
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    check(strcmp(name, names[who]) == 0, "%s: its name is %s", names[who], name);
    check((pid_t)syscall(SYS_gettid) == tid, "%s: its TID is %ld, was %d", names[who], syscall(SYS_gettid), tid);
    check(mine == who * 1000 + 1, "%s: its thread-local variable is %d", names[who], mine);
    check(pthread_equal(self, pthread_self()), "%s: pthread_self differs", names[who]);
    return (void *)(intptr_t)(who + 100);
}

// State letter and system call of a thread of ours: it is where it should be when the snapshot is taken.
static bool sleeping(pid_t tid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    char *state = got > 0 ? strrchr(text, ')') : NULL;
    return state != NULL && state[2] == 'S';
}

static void *later(void *argument)
{
    return argument;
}

int main(void)
{
    MUST((epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0);
    MUST((event = eventfd(0, EFD_CLOEXEC)) >= 0);
    MUST((poll_event = eventfd(0, EFD_CLOEXEC)) >= 0);
    struct epoll_event interest = { EPOLLIN, { .u64 = 0x1234567890UL } };
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &interest) == 0);
    MUST(pipe2(pipe_ends, O_CLOEXEC) == 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t length = sizeof(sa_family_t) + (socklen_t)snprintf(address.sun_path, sizeof address.sun_path, "%csubject-threads-%d", 0, getpid());
    MUST((listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
    MUST(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 5) == 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);

    pthread_t threads[COUNT];
    for (int i = 0; i < COUNT; i++)
        MUST(pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i) == 0);
    for (int i = 0; i < COUNT; i++)
        if (i == SPIN)
            MUST(EVENTUALLY(turns > 0));
        else
            MUST(EVENTUALLY(tids[i] != 0 && sleeping(tids[i])));

    pid_t before = getpid();
    ready_and_wait();
    check(getpid() == before && gettid() == before, "PID is %d, was %d", getpid(), before);

    uint64_t seen = turns, one = 1;
    check(EVENTUALLY(turns > seen), "the spinning thread stands still");
    stop_spinning = true;
    let_robust_go = true;
    __atomic_store_n(&futex_word, 1, __ATOMIC_SEQ_CST);
    long woken = syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    check(woken >= 0, "futex wake: %s", strerror(errno));
    check(write(event, &one, 8) == 8 && write(poll_event, &one, 8) == 8, "eventfd: %s", strerror(errno));
    check(write(pipe_ends[1], "hello", 5) == 5, "pipe: %s", strerror(errno));
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(connect(client, (struct sockaddr *)&address, length) == 0 && write(client, "abc", 3) == 3, "connect: %s", strerror(errno));
    pthread_mutex_lock(&condition_lock);
    condition_met = true;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&condition_lock);

    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    for (int i = 0; i < COUNT; i++)
    {
        void *result = NULL;
        int error = pthread_timedjoin_np(threads[i], &result, &limit);
        check(error == 0 && result == (void *)(intptr_t)(i + 100), "%s: cannot be joined: %s", names[i], strerror(error));
    }
    check(pthread_mutex_trylock(&robust) == EOWNERDEAD, "the robust mutex does not know that its owner died");

    pthread_t added;
    void *result = NULL;
    check(pthread_create(&added, NULL, later, (void *)5) == 0 && pthread_join(added, &result) == 0 && result == (void *)5, "a new thread cannot be made and joined");
    answer();
}
