// Signals: dispositions, masks, what is pending, alternate stacks, and a subject that is frozen inside a handler.
#include "subject.h"
#include <ucontext.h>

static volatile sig_atomic_t usr1_runs, quit_runs, thread_runs;
static volatile int usr1_value;
static volatile bool on_alternate, frozen_in_handler, let_thread_go;
static char alternate[64 * 1024] __attribute__((aligned(16)));
static char thread_alternate[64 * 1024] __attribute__((aligned(16)));
static pthread_barrier_t thread_ready;

static bool within(const char *stack, size_t size)
{
    char here;
    return &here >= stack && &here < stack + size;
}

static void on_usr1(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    usr1_value = info->si_value.sival_int;
    on_alternate = within(alternate, sizeof alternate);
    usr1_runs++;
}

// Waits for the request in here: the snapshot shows this frame and the interrupted one below it.
static void on_quit(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    ucontext_t *interrupted = context;
    unsigned long long rip = (unsigned long long)interrupted->uc_mcontext.gregs[REG_RIP];
    if (quit_runs++ == 0)
    {
        ready_and_wait();
        frozen_in_handler = true;
    }
    check(rip == (unsigned long long)interrupted->uc_mcontext.gregs[REG_RIP], "the frame of the interrupted function changed");
}

static void on_thread_signal(int signal)
{
    (void)signal;
    if (within(thread_alternate, sizeof thread_alternate))
        thread_runs++;
}

static void *thread(void *unused)
{
    (void)unused;
    stack_t stack = { .ss_sp = thread_alternate, .ss_size = sizeof thread_alternate };
    MUST(sigaltstack(&stack, NULL) == 0);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, SIGUSR2);
    sigaddset(&only, SIGRTMIN + 3);
    MUST(pthread_sigmask(SIG_BLOCK, &only, NULL) == 0);
    MUST(pthread_kill(pthread_self(), SIGRTMIN + 3) == 0); // pending for this thread alone
    pthread_barrier_wait(&thread_ready);
    while (!let_thread_go)
        usleep(1000);

    sigset_t mask, pending;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    check(sigismember(&mask, SIGUSR2) == 1 && sigismember(&mask, SIGRTMIN + 3) == 1, "thread: its mask lost a signal");
    sigpending(&pending);
    check(sigismember(&pending, SIGRTMIN + 3) == 1, "thread: its pending signal is gone");
    sigemptyset(&only);
    sigaddset(&only, SIGRTMIN + 3);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    check(thread_runs == 1, "thread: the handler ran %d times on its alternate stack", thread_runs);
    return NULL;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags, int also_blocked)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };
    sigemptyset(&action.sa_mask);
    if (also_blocked != 0)
        sigaddset(&action.sa_mask, also_blocked);
    MUST(sigaction(signal, &action, NULL) == 0);
}

static void expect_next(const sigset_t *set, int signal, int value)
{
    siginfo_t info = { 0 };
    struct timespec none = { 0, 0 };
    int got = sigtimedwait(set, &info, &none);
    check(got == signal, "pending: next is signal %d, expected %d", got, signal);
    check(got != signal || (info.si_value.sival_int == value && info.si_pid == getpid() && info.si_code == SI_QUEUE),
        "pending: signal %d came with value %d, code %d, from %d", signal, info.si_value.sival_int, info.si_code, info.si_pid);
}

int main(void)
{
    stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
    MUST(sigaltstack(&stack, NULL) == 0);
    handle(SIGUSR1, on_usr1, SA_ONSTACK | SA_RESTART, SIGHUP);
    handle(SIGQUIT, on_quit, 0, 0);
    struct sigaction plain = { .sa_handler = on_thread_signal, .sa_flags = SA_ONSTACK };
    MUST(sigaction(SIGRTMIN + 3, &plain, NULL) == 0);
    MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    MUST(signal(SIGCHLD, SIG_DFL) != SIG_ERR);

    pthread_t other;
    pthread_barrier_init(&thread_ready, NULL, 2);
    MUST(pthread_create(&other, NULL, thread, NULL) == 0);
    pthread_barrier_wait(&thread_ready);

    // Held back: one classic signal and three queued ones with values, in a thread that blocks them as the other does not.
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGUSR2);
    sigaddset(&held, SIGRTMIN + 1);
    sigaddset(&held, SIGRTMIN + 2);
    // The other thread would take what is sent to the process: everything is sent to this one or blocked there too.
    MUST(pthread_sigmask(SIG_BLOCK, &held, NULL) == 0);
    MUST(pthread_sigqueue(pthread_self(), SIGRTMIN + 1, (union sigval){ .sival_int = 11 }) == 0);
    MUST(pthread_sigqueue(pthread_self(), SIGRTMIN + 1, (union sigval){ .sival_int = 22 }) == 0);
    MUST(pthread_sigqueue(pthread_self(), SIGRTMIN + 2, (union sigval){ .sival_int = 33 }) == 0);
    MUST(sigqueue(getpid(), SIGUSR2, (union sigval){ .sival_int = 44 }) == 0); // pending for the process: both threads block it

    raise(SIGQUIT); // says ready, waits for the request, and returns here
    check(frozen_in_handler && quit_runs == 1, "the handler that was frozen did not return");

    stack_t stack_now;
    sigaltstack(NULL, &stack_now);
    check(stack_now.ss_sp == alternate && stack_now.ss_size == sizeof alternate && stack_now.ss_flags == 0, "alternate stack: %p, %zu, flags %d", stack_now.ss_sp, stack_now.ss_size, stack_now.ss_flags);
    sigset_t mask, pending;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int signal = 1; signal <= 64; signal++)
        if (signal != 32 && signal != 33)
            check(sigismember(&mask, signal) == sigismember(&held, signal), "mask: signal %d is %sblocked", signal, sigismember(&mask, signal) ? "" : "not ");
    sigpending(&pending);
    for (int signal = 1; signal <= 64; signal++)
        if (signal != 32 && signal != 33)
            check(sigismember(&pending, signal) == sigismember(&held, signal), "pending: signal %d is %spending", signal, sigismember(&pending, signal) ? "" : "not ");
    expect_next(&held, SIGRTMIN + 1, 11);
    expect_next(&held, SIGRTMIN + 1, 22);
    expect_next(&held, SIGRTMIN + 2, 33);
    expect_next(&held, SIGUSR2, 44); // the kernel takes what is pending for the thread first

    struct sigaction action;
    sigaction(SIGUSR1, NULL, &action);
    check(action.sa_sigaction == on_usr1 && (action.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_RESTART)) == (SA_SIGINFO | SA_ONSTACK | SA_RESTART), "SIGUSR1: handler or flags %x changed", (unsigned)action.sa_flags);
    check(sigismember(&action.sa_mask, SIGHUP) == 1 && sigismember(&action.sa_mask, SIGUSR2) == 0, "SIGUSR1: its mask changed");
    sigaction(SIGPIPE, NULL, &action);
    check(action.sa_handler == SIG_IGN, "SIGPIPE is not ignored");
    sigaction(SIGTERM, NULL, &action);
    check(action.sa_handler == SIG_DFL, "SIGTERM has a handler");

    pthread_sigqueue(pthread_self(), SIGUSR1, (union sigval){ .sival_int = 55 });
    check(usr1_runs == 1 && usr1_value == 55 && on_alternate, "SIGUSR1 after the restore: ran %d times, value %d, %son the alternate stack", usr1_runs, usr1_value, on_alternate ? "" : "not ");
    raise(SIGQUIT);
    check(quit_runs == 2, "SIGQUIT after the restore ran %d times", quit_runs);
    let_thread_go = true;
    pthread_join(other, NULL);
    answer();
}
