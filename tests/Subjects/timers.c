// Interval timers and POSIX timers: fork drops them all, a clone has them.
#include "subject.h"
#include <sys/time.h>

static volatile sig_atomic_t alarms, real_time_ticks, thread_ticks;
static volatile int tick_value;
static volatile pid_t ticked_thread, helper_tid;
static volatile bool let_helper_go;

static void on_alarm(int signal)
{
    (void)signal;
    alarms++;
}

static void on_tick(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    tick_value = info->si_value.sival_int;
    real_time_ticks++;
}

static void on_thread_tick(int signal)
{
    (void)signal;
    ticked_thread = gettid();
    thread_ticks++;
}

static void *helper(void *unused)
{
    (void)unused;
    helper_tid = gettid();
    while (!let_helper_go)
        usleep(1000);
    return NULL;
}

static timer_t arm(clockid_t clock, struct sigevent *event, long value_ms, long interval_ms)
{
    timer_t timer;
    MUST(timer_create(clock, event, &timer) == 0);
    struct itimerspec time =
    {
        .it_value = { value_ms / 1000, value_ms % 1000 * 1000000 },
        .it_interval = { interval_ms / 1000, interval_ms % 1000 * 1000000 },
    };
    MUST(timer_settime(timer, 0, &time, NULL) == 0);
    return timer;
}

int main(void)
{
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    MUST(sigaction(SIGALRM, &action, NULL) == 0 && sigaction(SIGPROF, &action, NULL) == 0);
    action.sa_handler = on_thread_tick;
    MUST(sigaction(SIGRTMIN + 6, &action, NULL) == 0);
    action.sa_sigaction = on_tick;
    action.sa_flags |= SA_SIGINFO;
    MUST(sigaction(SIGRTMIN + 5, &action, NULL) == 0);
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, helper, NULL) == 0);
    MUST(EVENTUALLY(helper_tid != 0));

    struct itimerval interval = { { 0, 150000 }, { 0, 300000 } };
    MUST(setitimer(ITIMER_REAL, &interval, NULL) == 0);
    struct itimerval distant = { { 77, 0 }, { 5000, 0 } };
    MUST(setitimer(ITIMER_PROF, &distant, NULL) == 0);

    // Numbers are the kernel's: a gap shows whether they are kept. glibc hands them out as timer_t.
    struct sigevent tick = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 5, .sigev_value.sival_int = 4711 };
    struct sigevent quiet = { .sigev_notify = SIGEV_NONE };
    timer_t gap = arm(CLOCK_MONOTONIC, &quiet, 0, 0);
    timer_t ticking = arm(CLOCK_MONOTONIC, &tick, 300, 150);
    MUST(timer_delete(gap) == 0);
    timer_t far = arm(CLOCK_REALTIME, &quiet, 1000000, 0);
    timer_t disarmed = arm(CLOCK_BOOTTIME, &tick, 0, 0);
    struct sigevent to_thread = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 6 };
    to_thread._sigev_un._tid = helper_tid;
    timer_t for_thread = arm(CLOCK_MONOTONIC, &to_thread, 300, 150);

    ready_and_wait();

    int alarms_before = alarms, ticks_before = real_time_ticks, thread_ticks_before = thread_ticks;
    struct itimerval now;
    check(getitimer(ITIMER_REAL, &now) == 0 && now.it_interval.tv_usec == 150000, "ITIMER_REAL: interval is %ld us", (long)now.it_interval.tv_usec);
    check(getitimer(ITIMER_PROF, &now) == 0 && now.it_interval.tv_sec == 77 && now.it_value.tv_sec >= 4990 && now.it_value.tv_sec <= 5001,
        "ITIMER_PROF: %ld s left, every %ld s", (long)now.it_value.tv_sec, (long)now.it_interval.tv_sec);
    struct itimerspec time;
    check(timer_gettime(ticking, &time) == 0 && time.it_interval.tv_nsec == 150000000, "ticking timer: interval %ld ns, %s", time.it_interval.tv_nsec, strerror(errno));
    check(timer_gettime(far, &time) == 0 && time.it_value.tv_sec >= 900 && time.it_value.tv_sec <= 1000, "far timer: %ld s left", (long)time.it_value.tv_sec);
    check(timer_gettime(disarmed, &time) == 0 && time.it_value.tv_sec == 0 && time.it_value.tv_nsec == 0, "disarmed timer: %ld s left", (long)time.it_value.tv_sec);

    check(EVENTUALLY(alarms > alarms_before), "SIGALRM does not come after the restore");
    check(EVENTUALLY(real_time_ticks > ticks_before) && tick_value == 4711, "the POSIX timer does not tick after the restore, value %d", tick_value);
    check(EVENTUALLY(thread_ticks > thread_ticks_before) && ticked_thread == helper_tid, "the timer of a thread ticks in %d, expected %d", ticked_thread, helper_tid);
    check(timer_delete(ticking) == 0 && timer_delete(far) == 0 && timer_delete(disarmed) == 0 && timer_delete(for_thread) == 0, "timer_delete: %s", strerror(errno));
    timer_t added = arm(CLOCK_MONOTONIC, &quiet, 1000, 0);
    check(timer_gettime(added, &time) == 0, "a new timer: %s", strerror(errno));
    let_helper_go = true;
    pthread_join(thread, NULL);
    answer();
}
