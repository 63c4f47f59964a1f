// Memory whose every word tells where it belongs, for subjects that do something to memory and look what has become of it.
#ifndef REGIONS_H
#define REGIONS_H

#include "subject.h"
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define WORDS (PAGE / sizeof(uint64_t))
#define BYTES(pages) ((pages) * PAGE)
#define MIDDLE(region) ((region)->at + BYTES((region)->pages / 2))

// Filled before the freeze, between two inaccessible pages, so that it never merges with a neighbour.
struct region
{
    unsigned number;
    char *at;
    size_t pages;
};

static const char *step_name = "before";
static uint64_t step_digest;
static char *children_wrong; // shared: what the first child that found something found
enum { CHILDREN_WRONG_BYTES = 4096 };

static inline void fold(uint64_t value)
{
    step_digest = (step_digest ^ value) * 0x100000001b3UL;
    step_digest ^= step_digest >> 29;
}

// Some pages of every region were never written.
static inline bool is_untouched(size_t page) { return page % 8 == 5; }

static inline uint64_t word_of(unsigned region, size_t page, size_t word)
{
    return is_untouched(page) ? 0 : (uint64_t)(region + 1) << 48 | (uint64_t)page << 16 | word;
}

static inline void fill_page(char *at, unsigned region, size_t page)
{
    for (size_t word = 0; word < WORDS; word++)
        ((uint64_t *)(void *)at)[word] = word_of(region, page, word);
}

static inline char *map_at(void *at, size_t bytes, int protection, int flags)
{
    char *got = mmap(at, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    MUST(got != MAP_FAILED);
    return got;
}

// Room for at least so many bytes that begins at a multiple of 2 MiB, with inaccessible memory around it.
static inline char *aligned_island(size_t bytes)
{
    char *whole = map_at(NULL, bytes + (4UL << 20), PROT_NONE, 0);
    char *at = (char *)(((uintptr_t)whole + (2UL << 20)) & ~((2UL << 20) - 1));
    MUST(mprotect(at, bytes, PROT_READ | PROT_WRITE) == 0);
    return at;
}

static inline void fill_region(struct region *region)
{
    for (size_t page = 0; page < region->pages; page++)
        if (!is_untouched(page))
            fill_page(region->at + page * PAGE, region->number, page);
}

static inline struct region make_region(unsigned number, size_t pages)
{
    char *whole = map_at(NULL, (pages + 2) * PAGE, PROT_NONE, 0);
    MUST(mprotect(whole + PAGE, pages * PAGE, PROT_READ | PROT_WRITE) == 0);
    struct region region = {number, whole + PAGE, pages};
    fill_region(&region);
    return region;
}

static inline void tell_wrong(const char *what, size_t page, size_t word, uint64_t is, uint64_t should)
{
    check(false, "%s: %s: page %zu, word %zu is %" PRIx64 ", not %" PRIx64, step_name, what, page, word, is, should);
}

// So many pages from `at` on are those of a region, from `first` on. What was read becomes part of the digest.
static inline bool expect(const char *what, const char *at, const struct region *region, size_t first, size_t pages)
{
    for (size_t page = 0; page < pages; page++)
        for (size_t word = 0; word < WORDS; word++)
        {
            uint64_t is = ((const volatile uint64_t *)(const void *)(at + page * PAGE))[word];
            uint64_t should = word_of(region->number, first + page, word);
            fold(is);
            if (is != should)
                return tell_wrong(what, page, word, is, should), false;
        }
    return true;
}

// As expect, for one page, without a trace in the digest: for whoever is not alone.
static inline bool expect_old(const char *what, const char *at, const struct region *region, size_t page)
{
    for (size_t word = 0; word < WORDS; word++)
    {
        uint64_t is = ((const volatile uint64_t *)(const void *)at)[word];
        if (is != word_of(region->number, page, word))
            return tell_wrong(what, page, word, is, word_of(region->number, page, word)), false;
    }
    return true;
}

static inline bool expect_value(const char *what, const char *at, size_t pages, uint64_t should)
{
    for (size_t i = 0; i < pages * WORDS; i++)
    {
        uint64_t is = ((const volatile uint64_t *)(const void *)at)[i];
        fold(is);
        if (is != should)
            return tell_wrong(what, i / WORDS, i % WORDS, is, should), false;
    }
    return true;
}

static inline bool expect_zeros(const char *what, const char *at, size_t pages) { return expect_value(what, at, pages, 0); }

static inline bool expect_all(const char *what, const struct region *region) { return expect(what, region->at, region, 0, region->pages); }

static inline void write_value(char *at, size_t pages, uint64_t value)
{
    for (size_t i = 0; i < pages * WORDS; i++)
        ((volatile uint64_t *)(void *)at)[i] = value;
}

// Every word is that of the region or zero: what somebody sees who reads while somebody else drops the pages.
static inline bool expect_old_or_zeros(const char *what, const char *at, const struct region *region, size_t first, size_t pages, size_t stride)
{
    for (size_t page = 0; page < pages; page++)
        for (size_t word = 0; word < WORDS; word += stride)
        {
            uint64_t is = ((const volatile uint64_t *)(const void *)(at + page * PAGE))[word];
            uint64_t old = word_of(region->number, first + page, word);
            if (is != old && is != 0)
                return tell_wrong(what, page, word, is, old), false;
        }
    return true;
}

// The result of a call is as it should be, errno with it when that is -1.
static inline void expect_result(const char *call, long is, long should, int should_errno)
{
    int error = is == -1 ? errno : 0;
    fold((uint64_t)is);
    fold((uint64_t)error);
    check(is == should && error == should_errno, "%s: %s returned %ld (%s), not %ld (%s)", step_name, call, is, strerror(error), should, strerror(should_errno));
}

#define EXPECT_OK(call) expect_result(#call, (long)(call), 0, 0)
#define EXPECT_ERROR(call, error) expect_result(#call, (long)(call), -1, error)
#define EXPECT_BYTES(call, bytes) expect_result(#call, (long)(call), (long)(bytes), 0)

// Without it the step cannot go on, nor can those after it.
#define REQUIRE(condition) do { \
    if (!(condition)) \
    { \
        check(false, "%s: %s: %s", step_name, #condition, strerror(errno)); \
        answer(); \
    } \
} while (0)

// Whether a mapping is there, whatever its pages.
static inline bool is_mapped(const char *at, size_t pages) { return msync((void *)(uintptr_t)at, pages * PAGE, MS_ASYNC) == 0; }

// A child's last words: what it found wrong is the parent's to tell.
static inline void leave_child(void)
{
    if (subject_wrong[0] == 0)
        _exit(0);
    if (__sync_bool_compare_and_swap(&children_wrong[0], 0, '-'))
        snprintf(children_wrong, CHILDREN_WRONG_BYTES, "%.*s", CHILDREN_WRONG_BYTES - 1, subject_wrong);
    _exit(1);
}

static inline void await_child(pid_t child)
{
    int status = -1;
    pid_t ended = waitpid(child, &status, 0);
    check(ended == child && status == 0, "%s: a child ended with status %x: %s", step_name, (unsigned)status, children_wrong);
    fold((uint64_t)status);
}

// Runs a block in a child and waits for it.
#define IN_CHILD(...) do { \
    pid_t child_ = fork(); \
    check(child_ >= 0, "%s: fork: %s", step_name, strerror(errno)); \
    if (child_ == 0) \
    { \
        subject_wrong[0] = 0; \
        __VA_ARGS__; \
        leave_child(); \
    } \
    await_child(child_); \
} while (0)

static inline pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, argument);
    check(error == 0, "%s: pthread_create: %s", step_name, strerror(error));
    if (error != 0)
        answer();
    return thread;
}

struct step
{
    const char *name;
    void (*run)(struct region *);
    size_t regions, pages;                // made before the freeze, for this step alone
    void (*prepare)(struct region *);     // before the freeze, when they are filled
};

enum { MOST_REGIONS = 4 };

// Prepares all steps, is frozen, and runs them. The answer has a digest for each of what it saw, which does not depend on how it came here.
static inline void run_steps(const struct step *steps, size_t count)
{
    struct region *regions = calloc(count * MOST_REGIONS, sizeof *regions);
    MUST(regions != NULL);
    children_wrong = mmap(NULL, CHILDREN_WRONG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(children_wrong != MAP_FAILED);
    for (size_t i = 0; i < count; i++)
    {
        struct region *own = regions + i * MOST_REGIONS;
        for (size_t j = 0; j < steps[i].regions; j++)
            own[j] = make_region((unsigned)(i * MOST_REGIONS + j), steps[i].pages);
        if (steps[i].prepare != NULL)
            steps[i].prepare(own);
    }
    ready_and_wait();
    size_t used = (size_t)snprintf(subject_more, sizeof subject_more, ",\"digests\":[");
    for (size_t i = 0; i < count; i++)
    {
        step_name = steps[i].name;
        step_digest = i;
        steps[i].run(regions + i * MOST_REGIONS);
        used += (size_t)snprintf(subject_more + used, sizeof subject_more - used, "%s\"%s %016" PRIx64 "\"", i == 0 ? "" : ",", step_name, step_digest);
    }
    snprintf(subject_more + used, sizeof subject_more - used, "]");
    answer();
}

#define RUN_STEPS(steps) run_steps(steps, sizeof(steps) / sizeof(steps)[0])

#endif
