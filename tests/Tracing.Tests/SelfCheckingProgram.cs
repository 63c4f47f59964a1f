using Snapshots.TestTargets;

namespace Snapshots.Tracing.Tests;

/// <summary>
/// A C program that notices what a careless tracer does: one thread keeps patterns in all vector and several general registers, others block in
/// read, nanosleep and futex and count calls that ended early. Each line written to it is answered by <c>wrong early spins</c>.
/// </summary>
internal static class SelfCheckingProgram
{
    private const string Source = """
        #define _GNU_SOURCE
        #include <errno.h>
        #include <linux/futex.h>
        #include <pthread.h>
        #include <stdatomic.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        static atomic_long wrong, early, spins;
        static atomic_int futex_word;
        static int pipe_ends[2];

        static void *spin(void *unused) {
            unsigned char in[512], out[512];
            for (int i = 0; i < 512; i++) in[i] = (unsigned char)(i * 7 + 3);
            for (;;) {
                unsigned long counter = 3000000, r12 = 0x1234567890abcdefUL;
                memset(out, 0, sizeof out);
                __asm__ volatile(
                    "vmovdqu 0(%[in]), %%ymm0\n vmovdqu 32(%[in]), %%ymm1\n vmovdqu 64(%[in]), %%ymm2\n vmovdqu 96(%[in]), %%ymm3\n"
                    "vmovdqu 128(%[in]), %%ymm4\n vmovdqu 160(%[in]), %%ymm5\n vmovdqu 192(%[in]), %%ymm6\n vmovdqu 224(%[in]), %%ymm7\n"
                    "vmovdqu 256(%[in]), %%ymm8\n vmovdqu 288(%[in]), %%ymm9\n vmovdqu 320(%[in]), %%ymm10\n vmovdqu 352(%[in]), %%ymm11\n"
                    "vmovdqu 384(%[in]), %%ymm12\n vmovdqu 416(%[in]), %%ymm13\n vmovdqu 448(%[in]), %%ymm14\n vmovdqu 480(%[in]), %%ymm15\n"
                    "mov %[r12], %%r12\n mov %%r12, %%r13\n mov %%r12, %%r14\n"
                    "1: dec %[counter]\n jnz 1b\n"
                    "vmovdqu %%ymm0, 0(%[out])\n vmovdqu %%ymm1, 32(%[out])\n vmovdqu %%ymm2, 64(%[out])\n vmovdqu %%ymm3, 96(%[out])\n"
                    "vmovdqu %%ymm4, 128(%[out])\n vmovdqu %%ymm5, 160(%[out])\n vmovdqu %%ymm6, 192(%[out])\n vmovdqu %%ymm7, 224(%[out])\n"
                    "vmovdqu %%ymm8, 256(%[out])\n vmovdqu %%ymm9, 288(%[out])\n vmovdqu %%ymm10, 320(%[out])\n vmovdqu %%ymm11, 352(%[out])\n"
                    "vmovdqu %%ymm12, 384(%[out])\n vmovdqu %%ymm13, 416(%[out])\n vmovdqu %%ymm14, 448(%[out])\n vmovdqu %%ymm15, 480(%[out])\n"
                    "cmp %%r12, %%r13\n jne 2f\n cmp %%r12, %%r14\n jne 2f\n cmp %[r12], %%r12\n je 3f\n 2: movb $0, 0(%[out])\n 3:\n"
                    : [counter] "+r"(counter)
                    : [in] "r"(in), [out] "r"(out), [r12] "r"(r12)
                    : "r12", "r13", "r14", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                      "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
                if (memcmp(in, out, sizeof in)) wrong++;
                spins++;
            }
        }
        static void *sleep_long(void *unused) {
            struct timespec length = { 1000, 0 };
            for (;;) if (nanosleep(&length, 0)) early++;
        }
        static void *read_nothing(void *unused) {
            char octet;
            for (;;) if (read(pipe_ends[0], &octet, 1) != 1) early++;
        }
        static void *wait_futex(void *unused) {
            struct timespec length = { 1000, 0 };
            for (;;) if (syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, &length, 0, 0)) early++;
        }
        int main(void) {
            pthread_t thread;
            char line[64];
            if (pipe(pipe_ends)) return 1;
            puts("ready"); fflush(stdout);
            pthread_create(&thread, 0, spin, 0);
            pthread_create(&thread, 0, sleep_long, 0);
            pthread_create(&thread, 0, read_nothing, 0);
            pthread_create(&thread, 0, wait_futex, 0);
            while (fgets(line, sizeof line, stdin)) {
                printf("%ld %ld %ld\n", (long)wrong, (long)early, (long)spins);
                fflush(stdout);
            }
        }
        """;

    public static TestTarget Start() => TestTarget.C(Source, "-mavx2", "-pthread");

    public static (long Wrong, long Early, long Spins) Ask(TestTarget target)
    {
        target.WriteLine("how are you");
        var numbers = target.ReadLine().Split(' ').Select(long.Parse).ToArray();
        return (numbers[0], numbers[1], numbers[2]);
    }

    /// <summary>Waits until the spinning thread has been through another round.</summary>
    public static (long Wrong, long Early, long Spins) AskAfterMoreSpins(TestTarget target)
    {
        var before = Ask(target);
        while (true)
        {
            var now = Ask(target);
            if (now.Spins > before.Spins + 1)
                return now;
            Thread.Yield();
        }
    }
}
