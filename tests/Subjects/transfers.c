// Calls by which the kernel reads and writes the memory of a program. Some of it may not be there yet when the call is made.
#include "regions.h"
#include <linux/futex.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>

static void copy_by_calls(struct region *r)
{
    size_t half = r->pages / 2;
    int memory = memfd_create("calls", MFD_CLOEXEC);
    MUST(memory >= 0);
    EXPECT_BYTES(pwrite(memory, r[0].at, BYTES(half), 0), BYTES(half));
    struct iovec from[2] = {{MIDDLE(r), BYTES(half / 2)}, {MIDDLE(r) + BYTES(half / 2), BYTES(half - half / 2)}};
    EXPECT_BYTES(pwritev(memory, from, 2, (off_t)BYTES(half)), BYTES(half));
    struct iovec to[3] = {{r[1].at, 100}, {r[1].at + 100, BYTES(30) - 100}, {r[1].at + BYTES(30), BYTES(r->pages - 30)}};
    EXPECT_BYTES(preadv(memory, to, 3, 0), BYTES(r->pages));
    expect("through a file", r[1].at, r, 0, r->pages);
    struct iovec other = {r[2].at, BYTES(half)}, mine = {r[1].at, BYTES(half)};
    EXPECT_BYTES(process_vm_readv(getpid(), &mine, 1, &other, 1, 0), BYTES(half));
    expect("by process_vm_readv", r[1].at, r + 2, 0, half);
    // It does not wait for pages: those that are missing would be an input/output error.
    expect("before /proc/self/mem", MIDDLE(r + 2), r + 2, half, half);
    expect("before /proc/self/mem", r[3].at + BYTES(100), r + 3, 100, 4);
    int self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    MUST(self >= 0);
    EXPECT_BYTES(pread(self, MIDDLE(r + 1), BYTES(half), (off_t)(uintptr_t)MIDDLE(r + 2)), BYTES(half));
    expect("by /proc/self/mem", MIDDLE(r + 1), r + 2, half, half);
    EXPECT_BYTES(pwrite(self, r[0].at, BYTES(4), (off_t)(uintptr_t)(r[3].at + BYTES(100))), BYTES(4));
    expect("written by /proc/self/mem", r[3].at + BYTES(100), r, 0, 4);
    expect("behind it", r[3].at + BYTES(104), r + 3, 104, 10);
    close(self);
    close(memory);
}

static void send_through_pipes(struct region *r)
{
    enum { AT_ONCE = 4 };
    int pipes[2], sockets[2];
    MUST(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) == 0);
    for (size_t page = 0; page < 32; page += AT_ONCE)
    {
        EXPECT_BYTES(write(pipes[1], r->at + BYTES(page), BYTES(AT_ONCE)), BYTES(AT_ONCE));
        EXPECT_BYTES(read(pipes[0], r[1].at + BYTES(page), BYTES(AT_ONCE)), BYTES(AT_ONCE));
        struct iovec pages = {r->at + BYTES(page + 32), BYTES(AT_ONCE)};
        EXPECT_BYTES(vmsplice(pipes[1], &pages, 1, 0), BYTES(AT_ONCE));
        EXPECT_BYTES(read(pipes[0], r[1].at + BYTES(page + 32), BYTES(AT_ONCE)), BYTES(AT_ONCE));
        EXPECT_BYTES(send(sockets[0], r->at + BYTES(page + 64), BYTES(AT_ONCE), 0), BYTES(AT_ONCE));
        EXPECT_BYTES(recv(sockets[1], r[1].at + BYTES(page + 64), BYTES(AT_ONCE), 0), BYTES(AT_ONCE));
    }
    expect("sent", r[1].at, r, 0, 96);
    expect("not sent", r[1].at + BYTES(96), r + 1, 96, r->pages - 96);
    for (int i = 0; i < 2; i++)
        close(pipes[i]), close(sockets[i]);
}

static void *await_futex(void *word)
{
    long result;
    do
        result = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, *(volatile uint32_t *)word, NULL, NULL, 0);
    while (result == -1 && errno == EINTR);
    return (void *)result;
}

static char *alternate_stack;
static volatile sig_atomic_t on_the_stack;

static void note_the_stack(int signal)
{
    char local;
    (void)signal;
    on_the_stack = &local >= alternate_stack && &local < alternate_stack + BYTES(16) ;
}

static void use_by_the_kernel(struct region *r)
{
    uint32_t *word = (uint32_t *)(void *)(r->at + BYTES(20));
    EXPECT_ERROR(syscall(SYS_futex, word, FUTEX_WAIT, (uint32_t)word_of(r->number, 20, 0) + 1, NULL, NULL, 0), EAGAIN);
    EXPECT_BYTES(syscall(SYS_futex, r->at + BYTES(40), FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
    pthread_t waiter = start(await_futex, r->at + BYTES(60));
    long woken = 0;
    check(EVENTUALLY((woken += syscall(SYS_futex, r->at + BYTES(60), FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)) > 0), "%s: nobody waits at the futex", step_name);
    void *result;
    check(pthread_join(waiter, &result) == 0 && result == NULL, "%s: the wait for the futex failed", step_name);

    EXPECT_BYTES(getrandom(r->at + BYTES(80), 200, 0), 200);
    expect("behind the random bytes", r->at + BYTES(81), r, 81, 1);

    alternate_stack = r[1].at + BYTES(32);
    stack_t stack = {.ss_sp = alternate_stack, .ss_size = BYTES(16)}, none = {.ss_flags = SS_DISABLE};
    struct sigaction action = {.sa_handler = note_the_stack, .sa_flags = SA_ONSTACK};
    MUST(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    MUST(raise(SIGUSR1) == 0 && sigaltstack(&none, NULL) == 0);
    check(on_the_stack, "%s: the handler did not run on the stack that was given", step_name);
    expect("below the stack", r[1].at, r + 1, 0, 32);
    expect("above the stack", r[1].at + BYTES(48), r + 1, 48, r->pages - 48);
}

static const struct step steps[] = {
    {"read and write", copy_by_calls, 4, 256, NULL},
    {"pipes and sockets", send_through_pipes, 2, 128, NULL},
    {"futex, getrandom, sigaltstack", use_by_the_kernel, 2, 96, NULL},
};

int main(void) { RUN_STEPS(steps); }
