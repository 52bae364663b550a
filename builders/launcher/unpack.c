/*
 * Lay what this file carries: two zip archives, read by their central directories. All of it is
 * checked by one CRC before anything is written, and each file by its own while it is written.
 *
 * Only what the build makes is understood: no zip64, no encryption, no comments. Anything else,
 * and any name that leads out of the tree, means that the file is damaged.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "launcher.h"

#define BYTECODE "__pycache__/"
#define DISTRIBUTIONS ".deps/"
#define PREFIX ".prefix/"

enum {
    END_SIZE = 22,
    ENTRY_SIZE = 46,
    LOCAL_SIZE = 30,
    STORED = 0,
    DEFLATED = 8,
    PIECE = 1 << 18, /* bytes */
};

static const uint32_t END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;

/* One member of an archive; its contents are still packed. */
struct member {
    char name[PATH_SIZE];
    const uint8_t *packed;
    uint32_t packed_size, size, crc;
    unsigned method;
    mode_t mode;
};

static const uint8_t *bytes; /* the whole file */
static unsigned long laid;   /* how many files and links there are, without bytecode */

static uint32_t number(const uint8_t *at, int width)
{
    uint32_t value = 0;
    for (int index = width - 1; index >= 0; index--)
        value = value << 8 | at[index];
    return value;
}

/* End because a path of the tree cannot be written, as `errno` says. */
static _Noreturn void cannot_lay(const char *path)
{
    bool room = errno == ENOSPC || errno == EDQUOT;
    if (errno == EEXIST)
        damaged();
    fail(room ? "make room, or name another folder: " CACHE_VARIABLE "=FOLDER" : NULL,
         "cannot be unpacked: %s: %s", path, strerror(errno));
}

/* Point to a part of the file, which must be there. */
static const uint8_t *part(uint64_t offset, uint64_t size)
{
    if (offset < stamp.runtime || offset > stamp.end || size > stamp.end - offset)
        damaged();
    return bytes + offset;
}

static void open_self(void)
{
    struct stat seen;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &seen) != 0)
        fail(NULL, "this file cannot be read: %s", strerror(errno));
    if (stamp.end == 0 || (uint64_t)seen.st_size != stamp.end)
        damaged();
    void *mapped = mmap(NULL, stamp.end, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED)
        fail(NULL, "this file cannot be read: %s", strerror(errno));
    close(file);
    bytes = mapped;
    if (crc32_z(0, bytes + stamp.runtime, stamp.end - stamp.runtime) != stamp.crc)
        damaged();
}

/* Tell whether a relative path stays below where it starts. */
static bool stays(const char *path)
{
    if (path[0] == '/' || path[0] == '\0')
        return false;
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        size_t length = strcspn(at, "/");
        if (length == 0 || (length == 1 && at[0] == '.') || strncmp(at, "../", 3) == 0 ||
            strcmp(at, "..") == 0)
            return false;
    }
    return true;
}

static void read_member(const uint8_t *entry, struct member *member)
{
    uint32_t length = number(entry + 28, 2);
    uint64_t offset = number(entry + 42, 4);
    const uint8_t *local = part(offset, LOCAL_SIZE);
    if (length >= PATH_SIZE || number(local, 4) != LOCAL)
        damaged();
    memcpy(member->name, entry + ENTRY_SIZE, length);
    member->name[length] = '\0';
    member->method = number(entry + 10, 2);
    member->crc = number(entry + 16, 4);
    member->packed_size = number(entry + 20, 4);
    member->size = number(entry + 24, 4);
    member->mode = number(entry + 38, 4) >> 16;
    offset += LOCAL_SIZE + number(local + 26, 2) + number(local + 28, 2);
    member->packed = part(offset, member->packed_size);
    if (strlen(member->name) != length)
        damaged();
}

static void write_all(int file, const uint8_t *at, size_t size, const char *path)
{
    while (size > 0) {
        ssize_t written = write(file, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            cannot_lay(path);
        at += written;
        size -= (size_t)written;
    }
}

/* Unpack a member's contents to a file, piece by piece. */
static void inflate_to(int file, const char *path, const struct member *member)
{
    static uint8_t piece[PIECE];
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)member->packed,
                       .avail_in = member->packed_size};
    uint32_t crc = 0;
    int state = inflateInit2(&stream, -MAX_WBITS);
    if (state != Z_OK)
        fail(NULL, "no memory");
    while (state == Z_OK) {
        stream.next_out = piece;
        stream.avail_out = PIECE;
        state = inflate(&stream, Z_NO_FLUSH);
        size_t size = PIECE - stream.avail_out;
        crc = (uint32_t)crc32_z(crc, piece, size);
        write_all(file, piece, size, path);
    }
    if (state != Z_STREAM_END || stream.total_out != member->size || crc != member->crc)
        damaged();
    inflateEnd(&stream);
}

static void store_to(int file, const char *path, const struct member *member)
{
    if (member->packed_size != member->size ||
        crc32_z(0, member->packed, member->size) != member->crc)
        damaged();
    write_all(file, member->packed, member->size, path);
}

/* Make the folders of a path below an open folder. */
static void make_parents(int folder, const char *path)
{
    char above[PATH_SIZE];
    spell(above, "%s", path);
    for (char *slash = strchr(above, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdirat(folder, above, 0755) != 0 && errno != EEXIST)
            cannot_lay(above);
        *slash = '/';
    }
}

static int create(int folder, const char *path, mode_t mode)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int file = openat(folder, path, flags, mode);
    if (file < 0 && errno == ENOENT) {
        make_parents(folder, path);
        file = openat(folder, path, flags, mode);
    }
    if (file < 0)
        cannot_lay(path);
    return file;
}

static void lay_link(int folder, const char *path, const struct member *member)
{
    char target[PATH_SIZE];
    if (member->method != STORED || member->size >= PATH_SIZE ||
        member->packed_size != member->size)
        damaged();
    memcpy(target, member->packed, member->size);
    target[member->size] = '\0';
    if (!stays(target))
        damaged();
    make_parents(folder, path);
    if (symlinkat(target, folder, path) != 0)
        cannot_lay(path);
}

static void lay(int folder, const char *path, const struct member *member)
{
    if (!stays(path))
        damaged();
    laid += strstr(path, BYTECODE) == NULL;
    if (S_ISLNK(member->mode)) {
        lay_link(folder, path, member);
        return;
    }
    int file = create(folder, path, member->mode & S_IXUSR ? 0755 : 0644);
    if (member->method == DEFLATED)
        inflate_to(file, path, member);
    else if (member->method == STORED)
        store_to(file, path, member);
    else
        damaged();
    if (close(file) != 0)
        cannot_lay(path);
}

static bool is_folder(const char *name)
{
    return name[0] != '\0' && name[strlen(name) - 1] == '/';
}

/* Give what the PEX has its place: its distributions go to the interpreter, its own boot nowhere. */
static bool place_of_pex(const char *name, char *path)
{
    if (strncmp(name, DISTRIBUTIONS, strlen(DISTRIBUTIONS)) != 0)
        return false;
    const char *inner = strchr(name + strlen(DISTRIBUTIONS), '/');
    if (inner == NULL)
        return false;
    inner++;
    if (strncmp(inner, PREFIX, strlen(PREFIX)) == 0)
        spell(path, "python/%s", inner + strlen(PREFIX));
    else if (inner[0] == '.') /* what PEX itself keeps with a distribution */
        return false;
    else
        spell(path, SITE "/%s", inner);
    return true;
}

static bool place_of_runtime(const char *name, char *path)
{
    spell(path, "%s", name);
    return true;
}

/* Lay the members of the archive that ends at `end`, each where `place` says. */
static void lay_archive(int folder, uint64_t end, bool (*place)(const char *, char *))
{
    static struct member member;
    static char path[PATH_SIZE];
    const uint8_t *tail = part(end - END_SIZE, END_SIZE);
    if (number(tail, 4) != END || number(tail + 20, 2) != 0)
        damaged();
    uint64_t at = number(tail + 16, 4);
    for (uint32_t left = number(tail + 10, 2); left > 0; left--) {
        const uint8_t *entry = part(at, ENTRY_SIZE);
        uint64_t size = ENTRY_SIZE + number(entry + 28, 2) + number(entry + 30, 2);
        size += number(entry + 32, 2);
        if (number(entry, 4) != ENTRY)
            damaged();
        part(at, size);
        read_member(entry, &member);
        if (!is_folder(member.name) && place(member.name, path))
            lay(folder, path, &member);
        at += size;
    }
}

static void lay_count(int folder)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%lu\n", laid);
    int file = create(folder, COUNT, 0644);
    write_all(file, (const uint8_t *)text, (size_t)length, COUNT);
    if (close(file) != 0)
        cannot_lay(COUNT);
}

void unpack(int folder)
{
    open_self();
    lay_archive(folder, stamp.pex, place_of_runtime);
    lay_archive(folder, stamp.end, place_of_pex);
    lay_count(folder);
    munmap((void *)(uintptr_t)bytes, stamp.end);
}
