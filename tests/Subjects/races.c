// Threads that change the memory of one process at once, while others read it and fork. Some of it may not be there yet.
#include "regions.h"

static volatile bool stop;

// Readers and writers while pages are dropped

// Once a word was seen dropped it stays so.
static void *read_again_and_again(void *argument)
{
    struct region *r = argument;
    bool *gone = calloc(r->pages, sizeof *gone);
    MUST(gone != NULL);
    for (bool last = false; !last;)
    {
        last = stop;
        for (size_t page = 0; page < r->pages; page++)
        {
            const volatile uint64_t *words = (const volatile uint64_t *)(const void *)(r->at + BYTES(page));
            for (size_t word = 0; word < WORDS; word += 73)
            {
                uint64_t is = words[word], old = word_of(r->number, page, word);
                if (old == 0 ? is != 0 : is != 0 && (is != old || gone[page]))
                    return tell_wrong(gone[page] ? "came back" : "another page's", page, word, is, old), free(gone), NULL;
                gone[page] |= old != 0 && is == 0;
            }
        }
    }
    free(gone);
    return NULL;
}

static void drop_while_others_read(struct region *r)
{
    enum { READERS = 3 };
    pthread_t readers[READERS];
    stop = false;
    for (int i = 0; i < READERS; i++)
        readers[i] = start(read_again_and_again, r);
    for (size_t page = 0, pages = 1; page < r->pages; page += pages, pages = pages % 13 + 1)
        EXPECT_OK(madvise(r->at + BYTES(page), BYTES(page + pages > r->pages ? r->pages - page : pages), MADV_DONTNEED));
    stop = true;
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    expect_zeros("dropped", r->at, r->pages);
}

static void *write_every_other_page(void *argument)
{
    struct region *r = argument;
    for (size_t page = 0; page < r->pages; page += 2)
        ((volatile uint64_t *)(void *)(r->at + BYTES(page)))[1] = page;
    return NULL;
}

static void drop_while_others_write(struct region *r)
{
    pthread_t writer = start(write_every_other_page, r);
    for (size_t page = 1; page < r->pages; page += 2)
        EXPECT_OK(madvise(r->at + BYTES(page), PAGE, MADV_DONTNEED));
    pthread_join(writer, NULL);
    for (size_t page = 1; page < r->pages; page += 2)
        expect_zeros("dropped", r->at + BYTES(page), 1);
    for (size_t page = 0; page < r->pages; page += 2)
    {
        volatile uint64_t *second = (volatile uint64_t *)(void *)(r->at + BYTES(page) + sizeof(uint64_t));
        check(*second == page, "%s: page %zu: what was written is %" PRIx64, step_name, page, *second);
        *second = word_of(r->number, page, 1);
        expect("written", r->at + BYTES(page), r, page, 1);
    }
}

// Threads that move their own memory, where the kernel likes: each soon gets what another has just left.

static void *move_again_and_again(void *argument)
{
    struct region *r = argument;
    size_t part = r->pages / 8;
    for (size_t first = 0; first < r->pages; first += part)
    {
        char *at = r->at + BYTES(first);
        for (size_t round = 0, pages = part; round < 12; round++)
        {
            // Grown by more than there is room for, and shrunk again.
            char *moved = mremap(at, BYTES(pages), BYTES(part * (2 + round)), MREMAP_MAYMOVE);
            REQUIRE(moved != MAP_FAILED);
            REQUIRE(mremap(moved, BYTES(part * (2 + round)), BYTES(part), 0) == moved);
            at = moved;
            pages = part;
            size_t page = round * 5 % part;
            if (!expect_old("moved", at + BYTES(page), r, first + page))
                return NULL;
        }
        for (size_t page = 0; page < part; page++)
            if (!expect_old("moved", at + BYTES(page), r, first + page))
                return NULL;
        munmap(at, BYTES(part));
    }
    return NULL;
}

static void move_side_by_side(struct region *r)
{
    pthread_t movers[MOST_REGIONS];
    for (int i = 0; i < MOST_REGIONS; i++)
        movers[i] = start(move_again_and_again, r + i);
    for (int i = 0; i < MOST_REGIONS; i++)
        pthread_join(movers[i], NULL);
}

// fork(2) while others change the memory

static void *read_slowly(void *argument)
{
    struct region *r = argument;
    for (size_t page = 0; page < r->pages && !stop; page += 3)
        if (!expect_old("read", r->at + BYTES(page), r, page))
            break;
    return NULL;
}

static void *drop_slowly(void *argument)
{
    struct region *r = argument;
    for (size_t page = 0; page < r->pages; page++)
        madvise(r->at + BYTES(page), PAGE, MADV_DONTNEED);
    return NULL;
}

enum { FORKS = 12 };

static void fork_while_others_read_and_drop(struct region *r)
{
    stop = false;
    pthread_t reader = start(read_slowly, r), dropper = start(drop_slowly, r + 1);
    for (size_t i = 0; i < FORKS; i++)
        IN_CHILD(
            for (size_t page = i; page < r->pages; page += 29)
            {
                expect_old("child, read", r[0].at + BYTES(page), r, page);
                expect_old_or_zeros("child, dropped", r[1].at + BYTES(page), r + 1, page, 1, 50);
                expect_old("child, left alone", r[2].at + BYTES(page), r + 2, page);
            });
    stop = true;
    pthread_join(reader, NULL);
    pthread_join(dropper, NULL);
    expect_zeros("dropped", r[1].at, r->pages);
    expect_all("left alone", r);
    expect_all("left alone", r + 2);
}

static void *unmap_slowly(void *argument)
{
    struct region *r = argument;
    for (size_t page = 0; page < r->pages; page += 4)
        munmap(r->at + BYTES(page), BYTES(4));
    return NULL;
}

static void fork_while_another_unmaps(struct region *r)
{
    pthread_t unmapper = start(unmap_slowly, r);
    for (size_t i = 0; i < FORKS; i++)
        IN_CHILD(
            for (size_t page = i % 4; page < r->pages; page += 4)
                if (is_mapped(r->at + BYTES(page), 1))
                    expect_old("child, not unmapped yet", r->at + BYTES(page), r, page));
    pthread_join(unmapper, NULL);
}

static char *first_place, *second_place;

static void *move_to_and_fro(void *argument)
{
    struct region *r = argument;
    for (int i = 0; !stop && i < 2000; i++)
    {
        char *from = i % 2 == 0 ? first_place : second_place, *to = i % 2 == 0 ? second_place : first_place;
        if (mremap(from, BYTES(r->pages), BYTES(r->pages), MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
            check(false, "%s: mremap: %s", step_name, strerror(errno));
    }
    return NULL;
}

static void fork_while_another_moves(struct region *r)
{
    first_place = r[0].at;
    second_place = r[1].at;
    REQUIRE(munmap(second_place, BYTES(r->pages)) == 0);
    stop = false;
    pthread_t mover = start(move_to_and_fro, r);
    for (size_t i = 0; i < FORKS; i++)
        IN_CHILD(
            char *at = is_mapped(first_place, r->pages) ? first_place : second_place;
            for (size_t page = i; page < r->pages; page += 29)
                expect_old("child, moved", at + BYTES(page), r, page));
    stop = true;
    pthread_join(mover, NULL);
    expect("moved to and fro", is_mapped(first_place, r->pages) ? first_place : second_place, r, 0, r->pages);
}

// Threads that have not run since before the freeze, with something on their stacks.

enum { SLEEPERS = 4, SLEEPER_PAGES = 64 };

static pthread_t sleepers[SLEEPERS];
static pthread_barrier_t asleep;
static pthread_mutex_t bed = PTHREAD_MUTEX_INITIALIZER;

static void *sleep_and_look(void *argument)
{
    struct region mine = {100 + (unsigned)(uintptr_t)argument, NULL, SLEEPER_PAGES};
    _Alignas(4096) char stack[BYTES(SLEEPER_PAGES)];
    mine.at = stack;
    memset(stack, 0, sizeof stack);
    fill_region(&mine);
    pthread_barrier_wait(&asleep);
    pthread_mutex_lock(&bed);
    pthread_mutex_unlock(&bed);
    for (size_t page = 0; page < SLEEPER_PAGES; page++)
        expect_old("stack", stack + BYTES(page), &mine, page);
    return NULL;
}

static void prepare_sleepers(struct region *r)
{
    (void)r;
    pthread_barrier_init(&asleep, NULL, SLEEPERS + 1);
    pthread_mutex_lock(&bed);
    for (uintptr_t i = 0; i < SLEEPERS; i++)
        sleepers[i] = start(sleep_and_look, (void *)i);
    pthread_barrier_wait(&asleep);
}

static void wake_the_sleepers(struct region *r)
{
    pthread_mutex_unlock(&bed);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(sleepers[i], NULL);
    expect_all("meanwhile", r);
}

static const struct step steps[] = {
    {"stacks of other threads", wake_the_sleepers, 1, 64, prepare_sleepers},
    {"MADV_DONTNEED and readers", drop_while_others_read, 1, 512, NULL},
    {"MADV_DONTNEED and writers", drop_while_others_write, 1, 256, NULL},
    {"mremap side by side", move_side_by_side, 4, 512, NULL},
    {"fork, readers and MADV_DONTNEED", fork_while_others_read_and_drop, 3, 512, NULL},
    {"fork and munmap", fork_while_another_unmaps, 1, 512, NULL},
    {"fork and mremap", fork_while_another_moves, 2, 256, NULL},
};

int main(void) { RUN_STEPS(steps); }
