// What belongs to a thread or address space by registration: restartable sequences, membarrier, the robust list, affinity.
#include "subject.h"
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/rseq.h>

static volatile uint32_t leave;
static volatile uint64_t committed, aborted;
static volatile bool spinning;

static volatile struct rseq *area(void)
{
    return (volatile struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

// Spends its life inside a critical section: whoever stops it there must send it to the abort handler, or leave it alone.
static void *in_section(void *unused)
{
    (void)unused;
    volatile struct rseq *rseq = area();
    while (!leave)
    {
        uint64_t result;
        asm volatile(
            ".pushsection __rseq_cs, \"aw\"\n\t" ".balign 32\n\t"
            "3:\n\t" ".long 0, 0\n\t" ".quad 1f, 2f - 1f, 4f\n\t" ".popsection\n\t"
            "lea 3b(%%rip), %%rax\n\t" "mov %%rax, %c[cs](%[rseq])\n\t"
            "1:\n\t" "movl $1, %[spinning]\n\t" "mov $20000000, %%ecx\n\t"
            "5:\n\t" "cmpl $0, %[leave]\n\t" "jne 6f\n\t" "dec %%ecx\n\t" "jnz 5b\n\t"
            "6:\n\t" "mov $1, %%eax\n\t"
            "2:\n\t" "jmp 7f\n\t"
            ".long 0x53053053\n\t" // RSEQ_SIG, before the abort handler
            "4:\n\t" "mov $2, %%eax\n\t"
            "7:\n\t"
            : "=&a"(result), [spinning] "+m"(*(uint32_t *)&spinning)
            : [rseq] "r"(rseq), [cs] "i"(__builtin_offsetof(struct rseq, rseq_cs)), [leave] "m"(leave)
            : "rcx", "cc", "memory");
        if ((uint32_t)result == 1)
            committed++;
        else
            aborted++;
    }
    return NULL;
}

static void move_to(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
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
    MUST(EVENTUALLY(*(volatile uint32_t *)&spinning != 0));

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

    uint64_t before = committed + aborted;
    check(EVENTUALLY(committed + aborted > before), "the thread in the critical section stands still");
    leave = 1;
    check(pthread_join(thread, NULL) == 0, "the thread in the critical section cannot be joined");
    answer();
}
