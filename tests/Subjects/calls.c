// What a program can do with its memory by system calls, one step each. Some of it may not be there yet when the call is made.
#include "regions.h"
#include <spawn.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

extern char **environ;

// mremap(2)

static void shrink_and_grow(struct region *r)
{
    size_t half = r->pages / 2;
    REQUIRE(mremap(r->at, BYTES(r->pages), BYTES(half), 0) == r->at);
    expect("what is left", r->at, r, 0, half);
    check(!is_mapped(MIDDLE(r), half), "%s: the end is still mapped", step_name);
    REQUIRE(mremap(r->at, BYTES(half), BYTES(r->pages), 0) == r->at);
    expect("what was there", r->at, r, 0, half);
    expect_zeros("what was given back", MIDDLE(r), half);
}

static void grow_elsewhere(struct region *r)
{
    char *at = r->at;
    size_t pages = r->pages;
    for (int round = 0; round < 3; round++, pages *= 2)
    {
        char *moved = mremap(at, BYTES(pages), BYTES(pages * 2), MREMAP_MAYMOVE);
        REQUIRE(moved != MAP_FAILED && (moved != at || round > 0));
        at = moved;
        expect("beginning", at + BYTES(3), r, 3, 7);
        expect_zeros("growth", at + BYTES(pages), pages);
    }
    expect("all of it", at, r, 0, r->pages);
}

static void move_over_another(struct region *r)
{
    size_t part = r->pages / 4;
    char *to = r[1].at + BYTES(part);
    REQUIRE(mremap(r->at + BYTES(part), BYTES(2 * part), BYTES(2 * part), MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    expect("its beginning", r->at, r, 0, part);
    expect("its end", r->at + BYTES(3 * part), r, 3 * part, part);
    expect("the other's beginning", r[1].at, r + 1, 0, part);
    expect("what moved", to, r, part, 2 * part);
    expect("the other's end", r[1].at + BYTES(3 * part), r + 1, 3 * part, part);
    check(!is_mapped(r->at + BYTES(part), 2 * part), "%s: it is still mapped where it was", step_name);
    expect_zeros("what comes where it was", map_at(r->at + BYTES(part), BYTES(2 * part), PROT_READ, MAP_FIXED_NOREPLACE), 2 * part);
}

static void move_and_shrink(struct region *r)
{
    size_t half = r->pages / 2;
    REQUIRE(mremap(r->at, BYTES(r->pages), BYTES(half), MREMAP_MAYMOVE | MREMAP_FIXED, r[1].at) == r[1].at);
    expect("what moved", r[1].at, r, 0, half);
    expect("its new neighbour", MIDDLE(r + 1), r + 1, half, half);
}

static void swap(struct region *r)
{
    for (size_t page = 0; page < r->pages; page += 11)
        expect("before", r->at + BYTES(page), r, page, 1);
    for (int round = 0; round < 3; round++)
    {
        char *aside = map_at(NULL, BYTES(r->pages), PROT_NONE, 0);
        REQUIRE(mremap(r->at, BYTES(r->pages), BYTES(r->pages), MREMAP_MAYMOVE | MREMAP_FIXED, aside) == aside);
        REQUIRE(mremap(r[1].at, BYTES(r->pages), BYTES(r->pages), MREMAP_MAYMOVE | MREMAP_FIXED, r[0].at) == r[0].at);
        REQUIRE(mremap(aside, BYTES(r->pages), BYTES(r->pages), MREMAP_MAYMOVE | MREMAP_FIXED, r[1].at) == r[1].at);
    }
    expect("the second, at the first's", r[0].at, r + 1, 0, r->pages);
    expect("the first, at the second's", r[1].at, r, 0, r->pages);
}

static void leave_the_mapping(struct region *r)
{
    char *moved = mremap(r->at, BYTES(r->pages), BYTES(r->pages), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    REQUIRE(moved != MAP_FAILED);
    expect_zeros("where it was", r->at, r->pages / 2);
    expect("where it is", moved, r, 0, r->pages);
    write_value(r->at, 4, 7);
    REQUIRE(mremap(moved, BYTES(r->pages), BYTES(r->pages), MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, r->at) == r->at);
    expect("back", r->at, r, 0, r->pages);
    expect_zeros("where it was for a while", moved, r->pages);
    EXPECT_OK(munmap(moved, BYTES(r->pages)));
    EXPECT_ERROR((long)mremap(r->at, 0, BYTES(r->pages), MREMAP_MAYMOVE), EINVAL);
}

// madvise(2)

static void drop(struct region *r)
{
    static const struct { size_t first, pages; } pieces[] = {{3, 1}, {7, 17}, {31, 2}, {48, 16}, {65, 63}, {200, 56}};
    bool dropped[256] = {false};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    {
        char *at = r->at + BYTES(pieces[i].first);
        if (i % 2 == 0)
            expect("before", at, r, pieces[i].first, 1);
        EXPECT_OK(madvise(at, BYTES(pieces[i].pages), MADV_DONTNEED));
        memset(dropped + pieces[i].first, true, pieces[i].pages);
        if (i % 3 != 0)
            expect_zeros("dropped", at, pieces[i].pages);
    }
    for (size_t page = 0; page < r->pages; page++)
        if (dropped[page])
            expect_zeros("dropped", r->at + BYTES(page), 1);
        else
            expect("kept", r->at + BYTES(page), r, page, 1);
    write_value(r->at + BYTES(7), 17, 99);
    expect("before what was written", r->at + BYTES(6), r, 6, 1);
    expect_value("written", r->at + BYTES(7), 17, 99);
    EXPECT_OK(madvise(r->at + BYTES(7), BYTES(3), MADV_DONTNEED));
    expect_zeros("dropped once more", r->at + BYTES(7), 3);
    EXPECT_OK(madvise(r[1].at, BYTES(r->pages), MADV_DONTNEED));
    expect_zeros("dropped whole", r[1].at, r->pages);
    EXPECT_ERROR(madvise(r->at + 1, PAGE, MADV_DONTNEED), EINVAL);
}

// It says nothing of when the old contents go, but what is written afterwards stays.
static void give_away(struct region *r)
{
    EXPECT_OK(madvise(r->at, BYTES(r->pages), MADV_FREE));
    for (size_t page = 0; page < r->pages; page += 2)
        ((volatile uint64_t *)(void *)(r->at + BYTES(page)))[WORDS - 1] = page;
    for (size_t page = 0; page < r->pages; page++)
    {
        uint64_t last = ((volatile uint64_t *)(void *)(r->at + BYTES(page)))[WORDS - 1];
        check(last == page || page % 2 != 0, "%s: page %zu: what was written is %" PRIx64, step_name, page, last);
        for (size_t word = 0; word < WORDS - 1; word++)
        {
            uint64_t is = ((volatile uint64_t *)(void *)(r->at + BYTES(page)))[word];
            if (is != 0 && is != word_of(r->number, page, word))
                tell_wrong("given away", page, word, is, 0);
        }
    }
}

static void populate(struct region *r)
{
    EXPECT_OK(madvise(r[0].at, BYTES(r->pages), MADV_POPULATE_READ));
    EXPECT_OK(madvise(r[1].at + BYTES(5), BYTES(30), MADV_POPULATE_WRITE));
    EXPECT_OK(madvise(r[2].at, BYTES(r->pages), MADV_WILLNEED));
    EXPECT_OK(madvise(r[2].at, BYTES(r->pages), MADV_COLD));
    EXPECT_OK(madvise(r[2].at, BYTES(r->pages), MADV_SEQUENTIAL));
    EXPECT_OK(mprotect(r[1].at + BYTES(40), BYTES(8), PROT_NONE));
    EXPECT_ERROR(madvise(r[1].at + BYTES(36), BYTES(8), MADV_POPULATE_READ), EINVAL);
    EXPECT_OK(mprotect(r[1].at + BYTES(40), BYTES(8), PROT_READ));
    for (int i = 0; i < 3; i++)
        expect_all("populated", r + i);
}

static struct region large;

static void prepare_large(struct region *r)
{
    large = (struct region){r->number + 1, aligned_island(BYTES(2048)), 2048};
    MUST(madvise(large.at, BYTES(large.pages), MADV_HUGEPAGE) == 0);
    fill_region(&large);
}

static void use_huge_pages(struct region *r)
{
    expect("before", large.at + BYTES(100), &large, 100, 50);
    (void)madvise(large.at, BYTES(512), MADV_COLLAPSE); // may be refused
    EXPECT_OK(madvise(large.at + BYTES(512), BYTES(512), MADV_NOHUGEPAGE));
    EXPECT_OK(madvise(large.at + BYTES(700), BYTES(9), MADV_DONTNEED));
    EXPECT_OK(madvise(large.at + BYTES(1024), BYTES(512), MADV_DONTNEED));
    expect("as it was", large.at, &large, 0, 700);
    expect_zeros("dropped", large.at + BYTES(700), 9);
    expect("as it was", large.at + BYTES(709), &large, 709, 1024 - 709);
    write_value(large.at + BYTES(1300), 1, 5);
    expect_zeros("dropped whole", large.at + BYTES(1024), 1300 - 1024);
    expect_zeros("dropped whole", large.at + BYTES(1301), 1536 - 1301);
    expect("as it was", large.at + BYTES(1536), &large, 1536, 512);
    EXPECT_OK(madvise(r->at, BYTES(r->pages), MADV_HUGEPAGE));
    expect_all("huge pages asked for later", r);
    (void)madvise(large.at, BYTES(large.pages), MADV_COLLAPSE);
    expect("as it was", large.at, &large, 0, 512);
    expect_value("written", large.at + BYTES(1300), 1, 5);
}

// mmap(2), munmap(2), brk(2)

static void map_anew(struct region *r)
{
    EXPECT_OK(munmap(r->at + BYTES(9), BYTES(13)));
    expect("before the hole", r->at + BYTES(2), r, 2, 7);
    expect_zeros("where part was unmapped", map_at(r->at + BYTES(9), BYTES(13), PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE), 13);
    expect_zeros("mapped over it", map_at(MIDDLE(r), BYTES(10), PROT_READ | PROT_WRITE, MAP_FIXED), 10);
    expect("behind", MIDDLE(r) + BYTES(10), r, r->pages / 2 + 10, r->pages / 2 - 10);
    int memory = memfd_create("calls", MFD_CLOEXEC);
    MUST(memory >= 0);
    EXPECT_BYTES(write(memory, r->at + BYTES(30), BYTES(4)), BYTES(4));
    MUST(mmap(r->at + BYTES(40), BYTES(4), PROT_READ, MAP_SHARED | MAP_FIXED, memory, 0) == r->at + BYTES(40));
    expect("a file mapped over it", r->at + BYTES(40), r, 30, 4);
    MUST(close(memory) == 0);
    expect("around the file", r->at + BYTES(22), r, 22, 18);
    expect("around the file", r->at + BYTES(44), r, 44, r->pages / 2 - 44);
}

enum { HOLE_EVERY = 40, HOLE_PAGES = 8 };

static void prepare_holes(struct region *r)
{
    for (size_t page = HOLE_EVERY - HOLE_PAGES; page < r->pages; page += HOLE_EVERY)
        MUST(munmap(r->at + BYTES(page), BYTES(HOLE_PAGES)) == 0);
}

static void fill_holes(struct region *r)
{
    int pipes[2];
    MUST(pipe(pipes) == 0);
    size_t first = HOLE_EVERY - HOLE_PAGES;
    EXPECT_BYTES(write(pipes[1], r->at + BYTES(first - 2), BYTES(4)), BYTES(2));
    EXPECT_ERROR(madvise(r->at + BYTES(first - 4), BYTES(16), MADV_DONTNEED), ENOMEM); // and done all the same
    for (size_t page = first; page < r->pages; page += HOLE_EVERY)
    {
        expect_zeros("hole", map_at(r->at + BYTES(page), BYTES(HOLE_PAGES), PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE), HOLE_PAGES);
        write_value(r->at + BYTES(page), HOLE_PAGES, page);
    }
    expect("before", r->at, r, 0, first - 4);
    expect_zeros("dropped beside the hole", r->at + BYTES(first - 4), 4);
    expect_zeros("dropped beside the hole", r->at + BYTES(HOLE_EVERY), 4);
    for (size_t page = HOLE_EVERY; page + HOLE_EVERY <= r->pages; page += HOLE_EVERY)
    {
        expect("between holes", r->at + BYTES(page + 4), r, page + 4, HOLE_EVERY - HOLE_PAGES - 4);
        expect_value("hole", r->at + BYTES(page + HOLE_EVERY - HOLE_PAGES), HOLE_PAGES, page + HOLE_EVERY - HOLE_PAGES);
    }
    close(pipes[0]);
    close(pipes[1]);
}

static struct region heap;

static void prepare_heap(struct region *r)
{
    char *end = sbrk(0);
    MUST(sbrk((intptr_t)(PAGE - (uintptr_t)end % PAGE)) != (void *)-1);
    heap = (struct region){r->number + 1, sbrk(BYTES(512)), 512};
    MUST(heap.at != (void *)-1);
    fill_region(&heap);
}

static void move_the_break(struct region *r)
{
    (void)r;
    check(sbrk(0) == heap.at + BYTES(heap.pages), "%s: the break is elsewhere", step_name);
    EXPECT_OK(brk(heap.at + BYTES(200)));
    EXPECT_OK(brk(heap.at + BYTES(1000)));
    expect("below", heap.at, &heap, 0, 200);
    expect_zeros("above", heap.at + BYTES(200), 800);
    EXPECT_OK(brk(heap.at + BYTES(100)));
    EXPECT_OK(brk(heap.at + BYTES(300)));
    expect("below", heap.at, &heap, 0, 100);
    expect_zeros("above", heap.at + BYTES(100), 200);
}

// mprotect(2)

static struct region *protected;
static volatile sig_atomic_t violations;

static void allow_the_page(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    char *page = (char *)((uintptr_t)info->si_addr & ~(PAGE - 1));
    if (page < protected->at || page >= protected->at + BYTES(protected->pages) || info->si_code != SEGV_ACCERR)
        _exit(4);
    violations++;
    if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0)
        _exit(5);
}

static void protect(struct region *r)
{
    protected = r;
    struct sigaction action = {.sa_sigaction = allow_the_page, .sa_flags = SA_SIGINFO}, before;
    MUST(sigaction(SIGSEGV, &action, &before) == 0);
    for (size_t page = 0; page < r->pages; page += 6)
        EXPECT_OK(mprotect(r->at + BYTES(page), PAGE, PROT_NONE));
    EXPECT_OK(mprotect(MIDDLE(r), BYTES(20), PROT_READ));
    expect_all("protected", r);
    fold((uint64_t)violations);
    for (size_t page = 0; page < r->pages; page += 2)
        write_value(r->at + BYTES(page), 1, page);
    fold((uint64_t)violations);
    for (size_t page = 0; page < r->pages; page += 2)
        expect_value("written", r->at + BYTES(page), 1, page);
    EXPECT_OK(mprotect(r[1].at, BYTES(r->pages), PROT_NONE));
    EXPECT_OK(madvise(r[1].at, BYTES(10), MADV_DONTNEED));
    EXPECT_OK(mprotect(r[1].at, BYTES(r->pages), PROT_READ | PROT_WRITE));
    expect_zeros("dropped while nobody could see it", r[1].at, 10);
    expect("hidden for a while", r[1].at + BYTES(10), r + 1, 10, r->pages - 10);
    MUST(sigaction(SIGSEGV, &before, NULL) == 0);
}

// mlock(2)

static void lock(struct region *r)
{
    EXPECT_OK(mlock(r->at, BYTES(r->pages)));
    EXPECT_ERROR(madvise(r->at, BYTES(2), MADV_DONTNEED), EINVAL);
    expect("locked", r->at, r, 0, r->pages);
    EXPECT_OK(madvise(r->at + BYTES(20), BYTES(2), MADV_DONTNEED_LOCKED));
    expect_zeros("dropped though locked", r->at + BYTES(20), 2);
    EXPECT_OK(munlock(r->at, BYTES(r->pages)));
    EXPECT_OK(mlock2(r[1].at, BYTES(r->pages), MLOCK_ONFAULT));
    expect("locked when touched", r[1].at, r + 1, 0, r->pages / 2);
    EXPECT_OK(munlock(MIDDLE(r + 1), BYTES(3)));
    EXPECT_OK(madvise(MIDDLE(r + 1), BYTES(3), MADV_DONTNEED));
    expect_zeros("dropped", MIDDLE(r + 1), 3);
    expect("never locked", MIDDLE(r + 1) + BYTES(3), r + 1, r->pages / 2 + 3, r->pages / 2 - 3);
    EXPECT_OK(munlock(r[1].at, BYTES(r->pages)));
}

// Last, because it fetches whatever is left.
static void lock_all(struct region *r)
{
    EXPECT_OK(mlockall(MCL_CURRENT));
    expect_all("locked", r);
    EXPECT_OK(munlockall());
}

// fork(2), execve(2)

static void change_in_child(struct region *r)
{
    expect("child: inherited", r[0].at + BYTES(10), r, 10, 40);
    EXPECT_OK(madvise(r[0].at, BYTES(25), MADV_DONTNEED));
    expect_zeros("child: dropped", r[0].at, 25);
    write_value(MIDDLE(r), 8, 3);
    char *moved = mremap(r[1].at, BYTES(r->pages), BYTES(r->pages * 2), MREMAP_MAYMOVE);
    REQUIRE(moved != MAP_FAILED);
    IN_CHILD(
        expect("grandchild: moved", moved, r + 1, 0, r->pages);
        expect_zeros("grandchild: dropped", r[0].at, 25);
        expect_value("grandchild: written", MIDDLE(r), 8, 3);
        expect("grandchild: rest", r[0].at + BYTES(25), r, 25, 7);
        EXPECT_OK(munmap(moved, BYTES(r->pages))));
    expect("child: moved", moved, r + 1, 0, r->pages);
    expect_zeros("child: growth", moved + BYTES(r->pages), r->pages);
    expect("child: all of the rest", r[2].at, r + 2, 0, r->pages);
}

static void fork_and_change(struct region *r)
{
    expect("parent, before", r[2].at, r + 2, 0, 9);
    IN_CHILD(change_in_child(r));
    for (int i = 0; i < 3; i++)
        expect("parent", r[i].at, r + i, 0, r->pages / 2);
    IN_CHILD(for (int i = 0; i < 3; i++) expect_all("later child", r + i));
    for (int i = 0; i < 3; i++)
        expect_all("parent", r + i);
}

static void fork_and_advise(struct region *r)
{
    EXPECT_OK(madvise(r->at, BYTES(16), MADV_DONTFORK));
    IN_CHILD(
        check(!is_mapped(r->at, 16), "%s: child has memory that is not for children", step_name);
        expect("child", r->at + BYTES(16), r, 16, r->pages - 16));
    expect_all("parent", r);
}

// The arguments of the call lie in missing pages too.
static void execute(struct region *r)
{
    pid_t child = vfork();
    if (child == 0)
    {
        char **arguments = (char **)(void *)(r->at + BYTES(5)); // never written
        arguments[0] = strcpy(r->at + BYTES(13), "/bin/true");
        execve(arguments[0], arguments, environ);
        _exit(6);
    }
    await_child(child);
    memset(r->at + BYTES(5), 0, PAGE);
    memset(r->at + BYTES(13), 0, PAGE);
    pid_t spawned;
    char *command[] = {"sh", "-c", "exit 0", NULL};
    EXPECT_OK(posix_spawn(&spawned, "/bin/sh", NULL, NULL, command, environ));
    await_child(spawned);
    expect_all("afterwards", r);
}

static const struct step steps[] = {
    {"mremap shrinks and grows", shrink_and_grow, 1, 256, NULL},
    {"mremap grows elsewhere", grow_elsewhere, 1, 256, NULL},
    {"mremap over another region", move_over_another, 2, 256, NULL},
    {"mremap moves and shrinks", move_and_shrink, 2, 256, NULL},
    {"mremap swaps", swap, 2, 256, NULL},
    {"MREMAP_DONTUNMAP", leave_the_mapping, 1, 256, NULL},
    {"MADV_DONTNEED", drop, 2, 256, NULL},
    {"MADV_FREE", give_away, 1, 256, NULL},
    {"MADV_POPULATE", populate, 3, 128, NULL},
    {"huge pages", use_huge_pages, 1, 64, prepare_large},
    {"munmap and mmap", map_anew, 1, 256, NULL},
    {"holes", fill_holes, 1, 400, prepare_holes},
    {"brk", move_the_break, 1, 32, prepare_heap},
    {"mprotect", protect, 2, 256, NULL},
    {"mlock", lock, 2, 256, NULL},
    {"fork", fork_and_change, 3, 256, NULL},
    {"MADV_DONTFORK", fork_and_advise, 1, 64, NULL},
    {"exec", execute, 1, 64, NULL},
    {"mlockall", lock_all, 1, 256, NULL},
};

int main(void) { RUN_STEPS(steps); }
