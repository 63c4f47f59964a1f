// What belongs to a thread or address space by registration: restartable sequences, membarrier, the robust list, affinity.
#include "subject.h"
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/rseq.h>

static volatile uint32_t leave;
static volatile uint64_t aborted;
static volatile uint32_t spinning;

static volatile struct rseq *area(void)
{
    return (volatile struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

// Stays inside a critical section until it may leave: what stops it there finds it there. The section ends by itself only when `leave` is set;
// whoever was moved, preempted or frozen inside goes on at section_abort, and enters again.
__attribute__((noinline)) static void *in_section(void *unused)
{
    (void)unused;
    volatile struct rseq *rseq = area();
    bool done = false;
    while (!done)
    {
        uint64_t result;
        asm volatile(
            ".pushsection __rseq_cs, \"aw\"\n\t" ".balign 32\n\t"
            "3:\n\t" ".long 0, 0\n\t" ".quad 1f, 2f - 1f, section_abort\n\t" ".popsection\n\t"
            "lea 3b(%%rip), %%rax\n\t" "mov %%rax, %c[cs](%[rseq])\n\t"
            "1:\n\t" "movl $1, %[spinning]\n\t"
            "5:\n\t" "cmpl $0, %[leave]\n\t" "je 5b\n\t"
            "mov $1, %%eax\n\t"
            "2:\n\t" "jmp 7f\n\t"
            ".long 0x53053053\n\t" // RSEQ_SIG, before the abort handler
            ".globl section_abort\n\t" "section_abort:\n\t" "mov $2, %%eax\n\t"
            "7:\n\t"
            : "=&a"(result), [spinning] "+m"(spinning)
            : [rseq] "r"(rseq), [cs] "i"(__builtin_offsetof(struct rseq, rseq_cs)), [leave] "m"(leave)
            : "cc", "memory");
        done = (uint32_t)result == 1;
        if (!done)
            aborted++;
    }
    return NULL;
}

static cpu_set_t only(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return set;
}

static void move_to(int cpu)
{
    cpu_set_t set = only(cpu);
    check(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity to %d: %s", cpu, strerror(errno));
}

int main(void)
{
    MUST(__rseq_size != 0); // registered by the C library
    MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0);
    MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0);
    void *head_before = NULL, *head = NULL;
    size_t length_before = 0, length = 0;
    MUST(syscall(SYS_get_robust_list, 0, &head_before, &length_before) == 0);
    cpu_set_t allowed;
    MUST(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    int first = -1, last = -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed))
        {
            first = first < 0 ? cpu : first;
            last = cpu;
        }
    move_to(last);
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, in_section, NULL) == 0);
    MUST(EVENTUALLY(spinning != 0));
    uint64_t aborted_before = aborted;

    ready_and_wait();

    cpu_set_t now;
    check(sched_getaffinity(0, sizeof now, &now) == 0 && CPU_COUNT(&now) == 1 && CPU_ISSET(last, &now), "affinity: %d CPUs", CPU_COUNT(&now));
    check(area()->cpu_id == (uint32_t)last, "rseq: cpu_id is %d, expected %d", (int)area()->cpu_id, last);
    move_to(first);
    check(EVENTUALLY(area()->cpu_id == (uint32_t)first), "rseq: cpu_id is %d after moving to %d: not registered", (int)area()->cpu_id, first);
    check(sched_getcpu() == first, "sched_getcpu: %d, expected %d", sched_getcpu(), first);
    check(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0, "membarrier: %s", strerror(errno));
    long registered = syscall(SYS_membarrier, 512 /* MEMBARRIER_CMD_GET_REGISTRATIONS */, 0, 0);
    check(registered >= 0 && (registered & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) != 0, "membarrier: registrations %lx", registered);
    check(syscall(SYS_get_robust_list, 0, &head, &length) == 0 && head == head_before && length == length_before, "robust list: %p, was %p", head, head_before);

    if (subject_restored)
        check(EVENTUALLY(aborted > aborted_before), "frozen inside the critical section, the thread went on inside it");
    uint64_t before = aborted;
    cpu_set_t elsewhere = only(first);
    check(pthread_setaffinity_np(thread, sizeof elsewhere, &elsewhere) == 0, "the thread in the critical section cannot be moved");
    check(first == last || EVENTUALLY(aborted > before), "moving the thread did not abort its critical section");
    leave = 1;
    check(pthread_join(thread, NULL) == 0, "the thread in the critical section cannot be joined");
    answer();
}
