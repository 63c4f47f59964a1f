// Mappings of every kind that a process without devices can have.
#include "subject.h"
#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE 4096UL

static char in_data[3 * PAGE] = "initialised";
static char in_bss[3 * PAGE];
static char maps_before[256 * 1024], maps_after[256 * 1024];

static char *map(size_t bytes, int protection, int flags, int fd, off_t offset)
{
    char *at = mmap(NULL, bytes, protection, flags, fd, offset);
    MUST(at != MAP_FAILED);
    return at;
}

// An anonymous range between two inaccessible pages, so that it never merges with a neighbour and its line in smaps is its own.
static char *island(size_t bytes)
{
    char *whole = map(bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(mprotect(whole + PAGE, bytes, PROT_READ | PROT_WRITE) == 0);
    return whole + PAGE;
}

enum { HEAP_PAGES = 700, CHUNKS = 12, CHUNK_PAGES = 64 };

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

static void read_file(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0);
    size_t used = 0;
    ssize_t got;
    while (used < size - 1 && (got = read(fd, to + used, size - 1 - used)) > 0)
        used += (size_t)got;
    to[used] = 0;
    close(fd);
}

// Protection of the page at an address by the given text of /proc/self/maps: "rw-p", or "" when it is not mapped. label may be NULL.
static const char *protection_at(const char *maps, uintptr_t address, uintptr_t *end, const char **label)
{
    static char found[5];
    for (const char *line = maps; *line != 0; line = strchr(line, '\n') + 1)
    {
        uintptr_t from, to;
        int used = 0;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n", &from, &to, found, &used) < 3)
            break;
        if (address < from || address >= to)
            continue;
        if (end != NULL)
            *end = to;
        if (label != NULL)
            *label = line + used;
        return found;
    }
    return "";
}

// Every page that was mapped is mapped with the same protection, but for one range that a clone drops.
static void compare_maps(const char *dropped)
{
    for (const char *line = maps_before; *line != 0; line = strchr(line, '\n') + 1)
    {
        uintptr_t from, to;
        char protection[5];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, protection) != 3)
            break;
        if (from == (uintptr_t)dropped || from >> 63 != 0) // [vsyscall] belongs to the kernel
            continue;
        for (uintptr_t at = from; at < to;)
        {
            uintptr_t end = 0;
            const char *now = protection_at(maps_after, at, &end, NULL);
            if (strcmp(now, protection) != 0)
            {
                check(false, "mapping %.*s: page %" PRIxPTR " is '%s' now", (int)strcspn(line, "\n"), line, at, now);
                break;
            }
            at = end;
        }
    }
}

// The VmFlags line of smaps for the mapping that starts at an address, " " when there is none.
static const char *vm_flags(const char *at)
{
    static char flags[1024];
    FILE *smaps = fopen("/proc/self/smaps", "re");
    MUST(smaps != NULL);
    char line[1024];
    bool mine = false;
    strcpy(flags, " ");
    while (fgets(line, sizeof line, smaps) != NULL)
    {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            mine = from == (uintptr_t)at;
        else if (mine && strncmp(line, "VmFlags:", 8) == 0)
        {
            snprintf(flags, sizeof flags, "%s", line + 8);
            break;
        }
    }
    fclose(smaps);
    return flags;
}

static void expect_flag(const char *what, const char *at, const char *flag)
{
    char wanted[8];
    snprintf(wanted, sizeof wanted, " %s", flag);
    const char *flags = vm_flags(at);
    check(strstr(flags, wanted) != NULL, "%s: VmFlags %s without %s", what, flags, flag);
}

__attribute__((noinline)) static unsigned dig(unsigned depth)
{
    volatile char frame[PAGE];
    frame[0] = (char)depth;
    frame[PAGE - 1] = (char)depth;
    return depth == 0 ? 0 : dig(depth - 1) + 1 + (unsigned)(frame[0] - frame[PAGE - 1]);
}

int main(void)
{
    // Anonymous: written, never written, emptied before, emptied after.
    char *sparse = island(8 * PAGE);
    fill(sparse, PAGE, 1);
    fill(sparse + 5 * PAGE, PAGE, 2);
    char *emptied = island(4 * PAGE);
    fill(emptied, 4 * PAGE, 3);
    MUST(madvise(emptied + PAGE, PAGE, MADV_DONTNEED) == 0);
    char *wiped = island(2 * PAGE);
    fill(wiped, 2 * PAGE, 4);
    MUST(madvise(wiped, 2 * PAGE, MADV_WIPEONFORK) == 0);
    char *unforked = island(2 * PAGE);
    fill(unforked, 2 * PAGE, 5);
    MUST(madvise(unforked, 2 * PAGE, MADV_DONTFORK) == 0);
    char *big = island(64 * PAGE);
    fill(big, 64 * PAGE, 6);

    // Protections.
    char *constant = island(2 * PAGE);
    fill(constant, 2 * PAGE, 7);
    MUST(mprotect(constant, 2 * PAGE, PROT_READ) == 0);
    char *hidden = island(2 * PAGE);
    fill(hidden, 2 * PAGE, 8);
    MUST(mprotect(hidden, 2 * PAGE, PROT_NONE) == 0);
    char *code = island(PAGE);
    memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6); // mov eax, 42; ret
    MUST(mprotect(code, PAGE, PROT_READ | PROT_EXEC) == 0);
    char *striped = island(3 * PAGE);
    fill(striped, 3 * PAGE, 9);
    MUST(mprotect(striped + PAGE, PAGE, PROT_READ) == 0);

    // Advice.
    char *dull = island(2 * PAGE), *huge = island(2 * PAGE), *undumped = island(2 * PAGE), *locked = island(2 * PAGE);
    MUST(madvise(dull, 2 * PAGE, MADV_NOHUGEPAGE) == 0);
    MUST(madvise(huge, 2 * PAGE, MADV_HUGEPAGE) == 0);
    MUST(madvise(undumped, 2 * PAGE, MADV_DONTDUMP) == 0);
    fill(locked, 2 * PAGE, 10);
    MUST(mlock(locked, 2 * PAGE) == 0);
    char *random_access = map(2 * PAGE, PROT_READ, MAP_PRIVATE, open("/proc/self/exe", O_RDONLY | O_CLOEXEC), 0);
    MUST(madvise(random_access, 2 * PAGE, MADV_RANDOM) == 0);

    // Shared anonymous memory and a memfd seen three times.
    char *shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fill(shared + PAGE, PAGE, 11);
    int memory = memfd_create("subject-memory", MFD_CLOEXEC);
    MUST(memory >= 0 && ftruncate(memory, 6 * PAGE) == 0);
    char *view = map(6 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    char *second = map(2 * PAGE, PROT_READ, MAP_SHARED, memory, 2 * PAGE);
    fill(view, 4 * PAGE, 12);
    char *own = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory, 0);
    fill(own + PAGE, PAGE, 13);

    // A file: private with one changed page, shared and read-only.
    int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    MUST(exe >= 0);
    struct stat exe_stat;
    MUST(fstat(exe, &exe_stat) == 0 && (size_t)exe_stat.st_size > 3 * PAGE);
    char *changed = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, exe, 0);
    fill(changed + PAGE, PAGE, 14);
    char *file_view = map(2 * PAGE, PROT_READ, MAP_SHARED, exe, 0);
    char first_bytes[64];
    MUST(pread(exe, first_bytes, sizeof first_bytes, 0) == sizeof first_bytes);
    close(exe);

    // Chunks such as allocators keep, each alone in its 2 MiB, written but for their first and last page.
    char *chunks[CHUNKS];
    for (int i = 0; i < CHUNKS; i++)
    {
        chunks[i] = map((CHUNK_PAGES + 2) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (i % 2 ? MAP_NORESERVE : 0), -1, 0);
        map(2 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        fill(chunks[i] + PAGE, CHUNK_PAGES * PAGE, 30 + i);
    }

    // The program's own data, its heap and its stack.
    fill(in_data, sizeof in_data, 15);
    fill(in_bss + PAGE, PAGE, 16);
    MUST(sbrk(0) != (void *)-1);
    char *heap = sbrk(HEAP_PAGES * PAGE);
    MUST(heap != (void *)-1);
    fill(heap, HEAP_PAGES * PAGE, 17);
    void *break_before = sbrk(0);
    char on_stack[256];
    fill(on_stack, sizeof on_stack, 18);

    read_file("/proc/self/maps", maps_before, sizeof maps_before);
    ready_and_wait();
    check(sbrk(0) == break_before, "brk: %p, was %p", sbrk(0), break_before);
    read_file("/proc/self/maps", maps_after, sizeof maps_after);
    compare_maps(subject_restored ? unforked : NULL);

    check(filled(sparse, PAGE, 1) && filled(sparse + 5 * PAGE, PAGE, 2), "anonymous: contents differ");
    check(zero(sparse + PAGE, 4 * PAGE) && zero(sparse + 6 * PAGE, 2 * PAGE), "anonymous: pages never written are not zero");
    check(zero(emptied + PAGE, PAGE), "page emptied before the freeze is not zero");
    check(madvise(emptied, 4 * PAGE, MADV_DONTNEED) == 0 && zero(emptied, 4 * PAGE), "page emptied by MADV_DONTNEED after the restore is not zero");
    if (subject_restored)
        check(zero(wiped, 2 * PAGE), "WIPEONFORK memory was not wiped");
    else
        check(filled(wiped, 2 * PAGE, 4), "WIPEONFORK memory changed without a fork");
    expect_flag("WIPEONFORK", wiped, "wf");
    unsigned char resident[2];
    bool unmapped = mincore(unforked, 2 * PAGE, resident) != 0 && errno == ENOMEM;
    check(!unmapped && filled(unforked, 2 * PAGE, 5), "DONTFORK memory is %s", unmapped ? "gone" : "not as it was");
    expect_flag("DONTFORK", unforked, "dc");
    check(filled(big, 64 * PAGE, 6), "larger anonymous range: contents differ");
    big = mremap(big, 64 * PAGE, 256 * PAGE, MREMAP_MAYMOVE);
    check(big != MAP_FAILED && filled(big, 64 * PAGE, 6) && zero(big + 64 * PAGE, 192 * PAGE), "mremap of restored memory: contents differ");

    check(filled(constant, 2 * PAGE, 7), "read-only anonymous: contents differ");
    check(mprotect(hidden, 2 * PAGE, PROT_READ) == 0 && filled(hidden, 2 * PAGE, 8), "PROT_NONE range: contents differ");
    check(((int (*)(void))(uintptr_t)code)() == 42, "generated code does not run");
    check(filled(striped, 3 * PAGE, 9), "range with a read-only stripe: contents differ");

    expect_flag("MADV_NOHUGEPAGE", dull, "nh");
    expect_flag("MADV_HUGEPAGE", huge, "hg");
    expect_flag("MADV_DONTDUMP", undumped, "dd");
    expect_flag("mlock", locked, "lo");
    expect_flag("MADV_RANDOM", random_access, "rr");
    check(filled(locked, 2 * PAGE, 10), "locked range: contents differ");

    check(zero(shared, PAGE) && filled(shared + PAGE, PAGE, 11) && zero(shared + 2 * PAGE, 2 * PAGE), "shared anonymous: contents differ");
    pid_t child = fork();
    if (child == 0)
    {
        fill(shared + 3 * PAGE, PAGE, 20);
        _exit(0);
    }
    int status = -1;
    check(waitpid(child, &status, 0) == child && status == 0, "child: status %x", (unsigned)status);
    check(filled(shared + 3 * PAGE, PAGE, 20), "shared anonymous memory: a child's write is not seen");

    check(filled(view, 4 * PAGE, 12) && zero(view + 4 * PAGE, 2 * PAGE), "memfd: contents differ");
    check(memcmp(second, view + 2 * PAGE, 2 * PAGE) == 0, "memfd: the second view differs from the first");
    view[2 * PAGE + 5] = 99;
    check(second[5] == 99, "memfd: a write through one view is not seen in the other");
    char byte = 0;
    check(pread(memory, &byte, 1, 2 * PAGE + 5) == 1 && byte == 99, "memfd: a write through a view is not seen by read");
    check(filled(own + PAGE, PAGE, 13), "private view of a memfd: the changed page differs");
    check(memcmp(own, view, PAGE) == 0 && memcmp(own + 3 * PAGE, view + 3 * PAGE, PAGE) == 0, "private view of a memfd: unchanged pages differ");
    check(pwrite(memory, "x", 1, 5 * PAGE) == 1 && view[5 * PAGE] == 'x', "memfd: a write by descriptor is not seen in a view");

    check(filled(changed + PAGE, PAGE, 14), "private file mapping: the changed page differs");
    check(memcmp(changed, first_bytes, sizeof first_bytes) == 0, "private file mapping: an unchanged page differs from the file");
    check(memcmp(file_view, first_bytes, sizeof first_bytes) == 0, "shared file mapping differs from the file");

    check(filled(in_data, sizeof in_data, 15), ".data differs");
    check(zero(in_bss, PAGE) && filled(in_bss + PAGE, PAGE, 16) && zero(in_bss + 2 * PAGE, PAGE), ".bss differs");
    check(filled(heap, HEAP_PAGES * PAGE, 17), "heap: contents differ");
    void *end_of_heap = sbrk(0); // stdio may have moved it meanwhile
    char *more = sbrk(256 * PAGE);
    check(more == end_of_heap && zero(more, 256 * PAGE), "heap: growth is not contiguous and zero (%p after %p)", (void *)more, end_of_heap);
    // Down over the old end and up again: what was given back comes back as zeros, what was not is as it was.
    check(sbrk(-(256 + 8) * PAGE) != (void *)-1 && sbrk(16 * PAGE) == (char *)end_of_heap - 8 * PAGE, "heap: cannot shrink over its old end and grow");
    check(zero((char *)end_of_heap - 8 * PAGE, 16 * PAGE), "heap: what was given back is not zero");
    check(filled(heap, (HEAP_PAGES - 8) * PAGE, 17) || (char *)end_of_heap != heap + HEAP_PAGES * PAGE, "heap: contents differ after it shrank");
    for (int i = 0; i < CHUNKS; i++)
        check(filled(chunks[i] + PAGE, CHUNK_PAGES * PAGE, 30 + i), "chunk %d: contents differ", i);
    check(madvise(chunks[0], (CHUNK_PAGES + 2) * PAGE, MADV_DONTNEED) == 0 && zero(chunks[0], (CHUNK_PAGES + 2) * PAGE), "chunk emptied after the restore is not zero");
    check(munmap(chunks[1] + 8 * PAGE, 8 * PAGE) == 0 && filled(chunks[1] + PAGE, 7 * PAGE, 31), "a hole in a chunk reaches beyond itself");
    char *block = malloc(3 << 20);
    check(block != NULL, "malloc after the restore");
    memset(block, 1, 3 << 20);
    free(block);
    const char *label = "";
    protection_at(maps_after, (uintptr_t)heap, NULL, &label);
    check(strncmp(label, "[heap]", 6) == 0, "heap: the mapping is not called [heap] but %.20s", label);
    protection_at(maps_after, (uintptr_t)on_stack, NULL, &label);
    check(strncmp(label, "[stack]", 7) == 0, "stack: the mapping is not called [stack] but %.20s", label);
    check(filled(on_stack, sizeof on_stack, 18), "stack: contents differ");
    check(dig(1000) == 1000, "stack: growth by 4 MB");

    uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
    protection_at(maps_after, vdso, NULL, &label);
    check(strncmp(label, "[vdso]", 6) == 0 && memcmp((void *)vdso, ELFMAG, SELFMAG) == 0, "the vDSO is not where auxv says");
    struct timespec time;
    check(clock_gettime(CLOCK_REALTIME, &time) == 0 && time.tv_sec > 1700000000, "the clock is wrong");
    answer();
}
