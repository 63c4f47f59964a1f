// Registers of a thread that waits in a system call and of one that spins in user mode.
#include "subject.h"
#include <asm/prctl.h>
#include <cpuid.h>

struct state
{
    uint8_t ymm[16][32];
    uint64_t general[8]; // rbx rdx rsi rdi r8 r9 r10 r12
    uint64_t x87;        // the double in st(0)
    uint32_t mxcsr;
    uint16_t x87_control;
    uint16_t pad;
};

static struct state wanted, in_call, spinning;
static volatile uint32_t release;
static _Thread_local uint64_t local = 77;

#define LOAD \
    "fninit\n\t" "fldcw %c[control](%[w])\n\t" "fldl %c[x87](%[w])\n\t" "ldmxcsr %c[mxcsr](%[w])\n\t" \
    "vmovdqu 0(%[w]), %%ymm0\n\t" "vmovdqu 32(%[w]), %%ymm1\n\t" "vmovdqu 64(%[w]), %%ymm2\n\t" "vmovdqu 96(%[w]), %%ymm3\n\t" \
    "vmovdqu 128(%[w]), %%ymm4\n\t" "vmovdqu 160(%[w]), %%ymm5\n\t" "vmovdqu 192(%[w]), %%ymm6\n\t" "vmovdqu 224(%[w]), %%ymm7\n\t" \
    "vmovdqu 256(%[w]), %%ymm8\n\t" "vmovdqu 288(%[w]), %%ymm9\n\t" "vmovdqu 320(%[w]), %%ymm10\n\t" "vmovdqu 352(%[w]), %%ymm11\n\t" \
    "vmovdqu 384(%[w]), %%ymm12\n\t" "vmovdqu 416(%[w]), %%ymm13\n\t" "vmovdqu 448(%[w]), %%ymm14\n\t" "vmovdqu 480(%[w]), %%ymm15\n\t" \
    "mov 512(%[w]), %%rbx\n\t" "mov 568(%[w]), %%r12\n\t"

#define STORE \
    "vmovdqu %%ymm0, 0(%[s])\n\t" "vmovdqu %%ymm1, 32(%[s])\n\t" "vmovdqu %%ymm2, 64(%[s])\n\t" "vmovdqu %%ymm3, 96(%[s])\n\t" \
    "vmovdqu %%ymm4, 128(%[s])\n\t" "vmovdqu %%ymm5, 160(%[s])\n\t" "vmovdqu %%ymm6, 192(%[s])\n\t" "vmovdqu %%ymm7, 224(%[s])\n\t" \
    "vmovdqu %%ymm8, 256(%[s])\n\t" "vmovdqu %%ymm9, 288(%[s])\n\t" "vmovdqu %%ymm10, 320(%[s])\n\t" "vmovdqu %%ymm11, 352(%[s])\n\t" \
    "vmovdqu %%ymm12, 384(%[s])\n\t" "vmovdqu %%ymm13, 416(%[s])\n\t" "vmovdqu %%ymm14, 448(%[s])\n\t" "vmovdqu %%ymm15, 480(%[s])\n\t" \
    "mov %%rbx, 512(%[s])\n\t" "mov %%rdx, 520(%[s])\n\t" "mov %%rsi, 528(%[s])\n\t" "mov %%rdi, 536(%[s])\n\t" \
    "mov %%r8, 544(%[s])\n\t" "mov %%r9, 552(%[s])\n\t" "mov %%r10, 560(%[s])\n\t" "mov %%r12, 568(%[s])\n\t" \
    "fstpl %c[x87](%[s])\n\t" "fnstcw %c[control](%[s])\n\t" "stmxcsr %c[mxcsr](%[s])\n\t" "fninit\n\t"

#define OFFSETS \
    [x87] "i"(__builtin_offsetof(struct state, x87)), [mxcsr] "i"(__builtin_offsetof(struct state, mxcsr)), \
    [control] "i"(__builtin_offsetof(struct state, x87_control))

#define CLOBBERS \
    "rbx", "rdx", "rsi", "rdi", "rcx", "r8", "r9", "r10", "r11", "r12", "cc", "memory", \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static ssize_t read_with_full_registers(int fd, char *buffer, size_t size)
{
    register const struct state *w asm("r13") = &wanted;
    register struct state *s asm("r14") = &in_call;
    register long count asm("r15") = (long)size;
    long result;
    asm volatile(
        "mov %k[fd], %%edi\n\t" "mov %[buffer], %%rsi\n\t" "mov %[count], %%rdx\n\t"
        LOAD
        "mov 544(%[w]), %%r8\n\t" "mov 552(%[w]), %%r9\n\t" "mov 560(%[w]), %%r10\n\t"
        "xor %%eax, %%eax\n\t" // __NR_read
        "syscall\n\t"
        STORE
        : "=&a"(result)
        : [w] "r"(w), [s] "r"(s), [count] "r"(count), [fd] "rm"(fd), [buffer] "rm"(buffer), OFFSETS
        : CLOBBERS);
    return result;
}

static void *spin(void *started)
{
    register const struct state *w asm("r13") = &wanted;
    register struct state *s asm("r14") = &spinning;
    register volatile uint32_t *flag asm("r15") = &release;
    asm volatile(
        LOAD
        "mov 520(%[w]), %%rdx\n\t" "mov 528(%[w]), %%rsi\n\t" "mov 536(%[w]), %%rdi\n\t"
        "mov 544(%[w]), %%r8\n\t" "mov 552(%[w]), %%r9\n\t" "mov 560(%[w]), %%r10\n\t"
        "movl $1, (%[started])\n\t"
        "1: pause\n\t" "cmpl $0, (%[flag])\n\t" "je 1b\n\t"
        STORE
        :
        : [w] "r"(w), [s] "r"(s), [flag] "r"(flag), [started] "a"(started), OFFSETS
        : CLOBBERS);
    return NULL;
}

static void compare(const char *who, const struct state *got, bool all)
{
    static const char *names[] = { "rbx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r12" };
    for (int i = 0; i < 16; i++)
        check(memcmp(wanted.ymm[i], got->ymm[i], 32) == 0, "%s: ymm%d differs%s", who, i,
            memcmp(wanted.ymm[i], got->ymm[i], 16) == 0 ? " in its upper half" : "");
    for (int i = 0; i < 8; i++)
        if (all || i == 0 || i > 3)
            check(wanted.general[i] == got->general[i], "%s: %s is %" PRIx64 ", was %" PRIx64, who, names[i], got->general[i], wanted.general[i]);
    check(wanted.x87 == got->x87, "%s: st(0) is %" PRIx64 ", was %" PRIx64, who, got->x87, wanted.x87);
    check((wanted.mxcsr & ~0x3fU) == (got->mxcsr & ~0x3fU), "%s: mxcsr is %x, was %x", who, got->mxcsr, wanted.mxcsr);
    check(wanted.x87_control == got->x87_control, "%s: x87 control word is %x, was %x", who, got->x87_control, wanted.x87_control);
}

int main(void)
{
    unsigned a, b, c, d;
    MUST(__get_cpuid(1, &a, &b, &c, &d) && (c & bit_AVX) != 0);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 32; j++)
            wanted.ymm[i][j] = (uint8_t)(i * 32 + j * 3 + 1);
    for (int i = 0; i < 8; i++)
        wanted.general[i] = 0x1122334455667700u + (uint64_t)i * 0x0101010101010101u;
    double pi = 3.14159265358979;
    memcpy(&wanted.x87, &pi, sizeof pi);
    wanted.mxcsr = 0x7f80;      // round towards zero, all exceptions masked
    wanted.x87_control = 0x0f7f; // round towards zero, extended precision
    local = 4242;
    uint64_t gs = (uint64_t)(uintptr_t)&wanted, fs = 0, fs_after = 0, gs_after = 0;
    MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, gs) == 0);
    MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) == 0);

    static uint32_t started;
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, spin, &started) == 0);
    MUST(EVENTUALLY(*(volatile uint32_t *)&started != 0));
    say_ready();
    ssize_t bytes = read_with_full_registers(subject_channel, subject_request, sizeof subject_request - 1);
    if (bytes < 0)
        errno = (int)-bytes;
    request_came(bytes);
    release = 1;
    MUST(pthread_join(thread, NULL) == 0);

    compare("thread in read", &in_call, false);
    compare("thread in user mode", &spinning, true);
    check(local == 4242, "thread-local variable is %" PRIu64, local);
    check(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_after) == 0 && fs_after == fs, "FS base is %" PRIx64 ", was %" PRIx64, fs_after, fs);
    check(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs_after) == 0 && gs_after == gs, "GS base is %" PRIx64 ", was %" PRIx64, gs_after, gs);
    answer();
}
