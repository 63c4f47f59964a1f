// A process that is snapshotted in layers: each stage changes its memory in every way that one can, and the last clones look at all of it.
//
//   {"stage":2}                    do the second stage, be ready again
//   {"stage":3}                    do the third
//   {"restored":true,"expect":3}   check that everything is as the third stage left it, and that it still works; answer; end
#include "subject.h"
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096UL

enum { BIG_PAGES = 2048, ARENA_PAGES = 16384, STACK_BYTES = 300 * 1024 };

static char *heap, *big, *gone, *moved, *read_only, *closed, *arena, *view, *pierced, *replaced, *advised, *wiped, *shared, *grown;
static char in_data[3 * PAGE] = "initialised", in_bss[3 * PAGE];
static size_t heap_bytes, moved_pages;
static char *heap_end;
static volatile sig_atomic_t caught;
static pthread_t thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted = PTHREAD_COND_INITIALIZER;
static int thread_work, thread_result;

static void fill(char *at, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (char)(seed + i * 7 + i / PAGE);
}

static bool filled(const char *at, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != (char)(seed + i * 7 + i / PAGE))
            return false;
    return true;
}

static bool zero(const char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != 0)
            return false;
    return true;
}

// Between two inaccessible pages, so that it never merges with a neighbour.
static char *island(size_t pages)
{
    char *whole = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(whole != MAP_FAILED);
    MUST(mprotect(whole + PAGE, pages * PAGE, PROT_READ | PROT_WRITE) == 0);
    return whole + PAGE;
}

static void on_signal(int signal) { caught = signal; }

static void *work(void *nothing)
{
    (void)nothing;
    pthread_mutex_lock(&lock);
    while (thread_work == 0)
        pthread_cond_wait(&wanted, &lock);
    thread_result = thread_work * 2;
    pthread_mutex_unlock(&lock);
    return NULL;
}

// Leaves the stack grown, and what it wrote there below the stack pointer.
__attribute__((noinline)) static void use_stack(unsigned seed)
{
    char frame[STACK_BYTES];
    fill(frame, sizeof frame, seed);
    __asm__ volatile("" : : "r"(frame) : "memory");
}

static void first_stage(void)
{
    heap_bytes = 300 * PAGE;
    heap = sbrk((intptr_t)heap_bytes);
    MUST(heap != (char *)-1);
    fill(heap, heap_bytes, 1);
    fill(big = island(BIG_PAGES), BIG_PAGES * PAGE, 2);
    fill(gone = island(64), 64 * PAGE, 3);
    moved_pages = 32;
    fill(moved = island(moved_pages), moved_pages * PAGE, 4);
    fill(read_only = island(16), 16 * PAGE, 5);
    fill(closed = island(16), 16 * PAGE, 6);
    arena = mmap(NULL, ARENA_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(arena != MAP_FAILED && mprotect(arena, 20 * PAGE, PROT_READ | PROT_WRITE) == 0);
    fill(arena, 20 * PAGE, 7);
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    MUST(self >= 0);
    view = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self, 0);
    MUST(view != MAP_FAILED);
    close(self);
    fill(view + PAGE, PAGE, 8);
    fill(pierced = island(40), 40 * PAGE, 9);
    fill(replaced = island(10), 10 * PAGE, 10);
    fill(advised = island(10), 10 * PAGE, 11);
    fill(wiped = island(4), 4 * PAGE, 12);
    MUST(madvise(wiped, 4 * PAGE, MADV_WIPEONFORK) == 0);
    shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(shared != MAP_FAILED);
    fill(shared, 4 * PAGE, 13);
    grown = island(600) + 500 * PAGE;
    MUST(munmap(grown + PAGE, 100 * PAGE) == 0); // free room behind a mapping of 501 pages
    fill(grown, PAGE, 14);
    MUST(signal(SIGUSR1, on_signal) != SIG_ERR);
}

static void second_stage(void)
{
    MUST(mremap(grown, PAGE, 60 * PAGE, 0) == grown); // before anything else takes the room
    fill(grown + PAGE, 59 * PAGE, 34);
    char *more = sbrk(500 * (intptr_t)PAGE);
    MUST(more == heap + heap_bytes);
    fill(more, 500 * PAGE, 21);
    heap_bytes += 500 * PAGE;
    for (size_t page = 0; page < BIG_PAGES; page += 100)
        fill(big + page * PAGE, PAGE, 22);
    MUST(madvise(big + 1001 * PAGE, 90 * PAGE, MADV_DONTNEED) == 0);
    memset(big + 1201 * PAGE, 0, 10 * PAGE);
    MUST(munmap(gone, 64 * PAGE) == 0);
    moved = mremap(moved, moved_pages * PAGE, 100 * PAGE, MREMAP_MAYMOVE);
    MUST(moved != MAP_FAILED);
    fill(moved + moved_pages * PAGE, (100 - moved_pages) * PAGE, 24);
    MUST(mprotect(read_only, 16 * PAGE, PROT_READ) == 0);
    MUST(mprotect(closed, 16 * PAGE, PROT_NONE) == 0);
    MUST(mprotect(arena + 20 * PAGE, 50 * PAGE, PROT_READ | PROT_WRITE) == 0);
    fill(arena + 20 * PAGE, 50 * PAGE, 27);
    MUST(madvise(view + PAGE, PAGE, MADV_DONTNEED) == 0);
    fill(view + 2 * PAGE, PAGE, 28);
    MUST(munmap(pierced + 10 * PAGE, 10 * PAGE) == 0);
    MUST(mmap(pierced + 12 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == pierced + 12 * PAGE);
    fill(pierced + 12 * PAGE, 2 * PAGE, 29);
    MUST(mmap(replaced, 10 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == replaced);
    fill(replaced, 5 * PAGE, 30);
    MUST(madvise(advised, 10 * PAGE, MADV_DONTDUMP) == 0);
    fill(wiped, 4 * PAGE, 32);
    fill(shared + PAGE, PAGE, 33);
    fill(in_data + PAGE, PAGE, 35);
    fill(in_bss + PAGE, PAGE, 36);
    use_stack(37);
    MUST(signal(SIGUSR1, SIG_DFL) != SIG_ERR && signal(SIGUSR2, on_signal) != SIG_ERR);
    MUST(pthread_create(&thread, NULL, work, NULL) == 0);
}

static void third_stage(void)
{
    fill(big + 7 * PAGE, PAGE, 42);
    fill(big + 1001 * PAGE, PAGE, 43); // was dropped in the second
    MUST(mprotect(read_only, 16 * PAGE, PROT_READ | PROT_WRITE) == 0);
    fill(read_only, PAGE, 45);
    MUST(mprotect(closed, 16 * PAGE, PROT_READ) == 0);
    MUST(munmap(moved + 50 * PAGE, 50 * PAGE) == 0);
    moved_pages = 50;
}

static void check_big(int stage)
{
    for (size_t page = 0; page < BIG_PAGES; page++)
    {
        const char *at = big + page * PAGE;
        bool ok = stage >= 3 && page == 7 ? filled(at, PAGE, 42)
            : stage >= 3 && page == 1001 ? filled(at, PAGE, 43)
            : stage >= 2 && page % 100 == 0 && page != 0 ? filled(at, PAGE, 22)
            : stage >= 2 && page == 0 ? filled(at, PAGE, 22)
            : stage >= 2 && page > 1000 && page < 1091 ? zero(at, PAGE)
            : stage >= 2 && page > 1200 && page < 1211 ? zero(at, PAGE)
            : filled(at, PAGE, (unsigned)(2 + page * PAGE * 7 + page));
        if (!ok)
        {
            check(false, "page %zu of the large range is not as stage %d left it", page, stage);
            return;
        }
    }
}

static void check_memory(int stage)
{
    check(filled(heap, 300 * PAGE, 1), "heap of the first stage");
    check_big(stage);
    check(filled(moved, 32 * PAGE, 4), "moved range");
    check(stage < 2 || filled(moved + 32 * PAGE, (moved_pages - 32) * PAGE, 24), "growth of the moved range");
    check(stage >= 3 ? filled(read_only, PAGE, 45) : filled(read_only, PAGE, 5), "read-only range");
    check(filled(arena, 20 * PAGE, 7), "arena");
    check(stage < 2 || filled(arena + 20 * PAGE, 50 * PAGE, 27), "second part of the arena");
    check(stage >= 2 ? memcmp(view, "\177ELF", 4) == 0 && !filled(view + PAGE, PAGE, 8) && filled(view + 2 * PAGE, PAGE, 28) : filled(view + PAGE, PAGE, 8), "private pages of a file");
    check(filled(pierced, 10 * PAGE, 9) && (stage < 2 || filled(pierced + 12 * PAGE, 2 * PAGE, 29)), "range with a hole");
    check(stage >= 2 ? filled(replaced, 5 * PAGE, 30) && zero(replaced + 5 * PAGE, 5 * PAGE) : filled(replaced, 10 * PAGE, 10), "replaced range");
    check(filled(advised, 10 * PAGE, 11), "advised range");
    check(!subject_restored || zero(wiped, 4 * PAGE), "memory to be wiped by a fork is not wiped");
    check(filled(shared, PAGE, 13) && (stage < 2 ? filled(shared + PAGE, PAGE, (unsigned)(13 + PAGE * 7 + 1)) : filled(shared + PAGE, PAGE, 33)), "shared memory");
    check(filled(grown, PAGE, 14) && (stage < 2 || filled(grown + PAGE, 59 * PAGE, 34)), "range that grew in its place");
    check(strcmp(in_data, "initialised") == 0 && (stage < 2 || (filled(in_data + PAGE, PAGE, 35) && filled(in_bss + PAGE, PAGE, 36))), "static data");
    if (stage >= 2)
        check(filled(heap + 300 * PAGE, 500 * PAGE, 21), "heap of the second stage");
    if (stage >= 3)
        check(filled(closed, 16 * PAGE, 6), "range that was closed and opened again");
}

static bool unmapped(char *at)
{
    unsigned char vector;
    return mincore(at, PAGE, &vector) != 0 && errno == ENOMEM;
}

// What was restored must also go on working.
static void check_use(int stage)
{
    check(stage < 2 || unmapped(gone), "a range that was unmapped is there again");
    check(stage < 2 || unmapped(pierced + 11 * PAGE), "the hole is closed");
    MUST(madvise(big, BIG_PAGES * PAGE, MADV_DONTNEED) == 0);
    check(zero(big, BIG_PAGES * PAGE), "dropped pages are not zeros");
    check(sbrk(0) == heap_end, "the break is at %p instead of %p", sbrk(0), (void *)heap_end);
    char *more = sbrk(100 * (intptr_t)PAGE);
    check(more == heap_end, "the heap does not grow");
    fill(more, 100 * PAGE, 61);
    check(filled(more, 100 * PAGE, 61) && filled(heap, 300 * PAGE, 1), "the grown heap");
    char *again = mremap(moved, moved_pages * PAGE, 400 * PAGE, MREMAP_MAYMOVE);
    check(again != MAP_FAILED, "mremap of the moved range: %s", strerror(errno));
    check(again == MAP_FAILED || (filled(again, 32 * PAGE, 4) && zero(again + moved_pages * PAGE, (400 - moved_pages) * PAGE)), "the range that was moved again");
    struct sigaction one, two;
    MUST(sigaction(SIGUSR1, NULL, &one) == 0 && sigaction(SIGUSR2, NULL, &two) == 0);
    check(one.sa_handler == (stage < 2 ? on_signal : SIG_DFL) && two.sa_handler == (stage < 2 ? SIG_DFL : on_signal), "signal handlers");
    raise(stage < 2 ? SIGUSR1 : SIGUSR2);
    check(caught == (stage < 2 ? SIGUSR1 : SIGUSR2), "no signal came");
    use_stack(62);
    if (stage < 2)
        return;
    pthread_mutex_lock(&lock);
    thread_work = 21;
    pthread_cond_signal(&wanted);
    pthread_mutex_unlock(&lock);
    MUST(pthread_join(thread, NULL) == 0);
    check(thread_result == 42, "the thread of the second stage did not work");
}

int main(void)
{
    first_stage();
    heap_end = sbrk(0);
    say_ready();
    for (int stage = 1;;)
    {
        memset(subject_request, 0, sizeof subject_request);
        await_request();
        const char *expect = strstr(subject_request, "\"expect\":"), *next = strstr(subject_request, "\"stage\":");
        if (expect != NULL)
        {
            check(atoi(expect + 9) == stage, "it is at stage %d", stage);
            check_memory(stage);
            check_use(stage);
            answer();
        }
        MUST(next != NULL && atoi(next + 8) == stage + 1);
        if (++stage == 2)
            second_stage();
        else
            third_stage();
        heap_end = sbrk(0); // malloc has taken some
        MUST(write(subject_channel, "answer\nready\n", 13) == 13); // what is said before is nobody's concern
    }
}
