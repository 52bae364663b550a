/*
 * Where trees lie: in a folder of the user's own that nobody else can write to, nor replace one
 * above it. A tree appears there by one rename, so a folder with its name was whole; one that lost
 * files since is made again. What is being made has another name and is held by a lock, and what
 * nobody holds any more is swept by the next who makes one.
 */

#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "launcher.h"

#define BYTECODE "__pycache__"
#define FRESH ".new-"
#define MEGABYTE 1000000

enum {
    PLACES = 4,
    OPEN_FILES = 16,
    UNNAMED = 65534, /* whom a user namespace shows for owners that it has no number for */
};

static const char *absolute(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && value[0] == '/' ? value : NULL;
}

/* Give one of the folders that may hold trees, the first first; false if there is no such one. */
static bool place(unsigned which, char *path)
{
    const char *own = getenv(CACHE_VARIABLE);
    const char *cache = absolute("XDG_CACHE_HOME");
    const char *home = absolute("HOME");
    const char *temporary = absolute("TMPDIR");
    if (own != NULL && own[0] != '\0') {
        if (own[0] != '/')
            fail(NULL, CACHE_VARIABLE " is no absolute path: %s", own);
        if (which == 0)
            spell(path, "%s", own);
        return which == 0;
    }
    if (which == 1 && cache != NULL)
        spell(path, "%s/" NAME, cache);
    else if (which == 2 && home != NULL)
        spell(path, "%s/.cache/" NAME, home);
    else if (which == 3)
        spell(path, "%s/" NAME "-%u", temporary != NULL ? temporary : "/tmp", geteuid());
    else
        return false;
    return true;
}

static bool others_write(const struct stat *seen)
{
    /* A group that has its user's number is that user's own, as many systems make one for each. */
    bool own = seen->st_uid == geteuid() && seen->st_gid == geteuid();
    return (seen->st_mode & S_IWOTH) || ((seen->st_mode & S_IWGRP) && !own);
}

/* Say why somebody else could replace what lies below a folder; NULL if nobody could. */
static const char *fault_above(const char *path)
{
    struct stat seen;
    if (lstat(path, &seen) != 0)
        return strerror(errno);
    if (seen.st_uid != 0 && seen.st_uid != geteuid() && seen.st_uid != UNNAMED)
        return "a folder above it belongs to somebody else";
    if (others_write(&seen) && !(seen.st_mode & S_ISVTX))
        return "others can replace it";
    return NULL;
}

/* Say what is wrong with a folder to start programs from; NULL if nothing is. Its path must be free
   of links. From the root down, each folder can be changed by none but root and the user, so its
   name leads to the next one from then on, and what is found here stays true. */
static const char *fault_of(char *path)
{
    struct stat folder;
    const char *fault = fault_above("/");
    for (char *slash = path; fault == NULL && (slash = strchr(slash + 1, '/')) != NULL;) {
        *slash = '\0';
        fault = fault_above(path);
        *slash = '/';
    }
    if (fault != NULL)
        return fault;
    if (lstat(path, &folder) != 0)
        return strerror(errno);
    if (!S_ISDIR(folder.st_mode))
        return "it is no folder";
    if (folder.st_uid != geteuid())
        return "it belongs to somebody else";
    if (folder.st_mode & (S_IWGRP | S_IWOTH))
        return "others can write to it";
    return NULL;
}

/* Follow the links in a folder's path, and say what is wrong with it. */
static const char *settle(char *path)
{
    char real[PATH_SIZE];
    if (realpath(path, real) == NULL)
        return strerror(errno);
    spell(path, "%s", real);
    return strcmp(path, "/") == 0 ? "it holds all of the machine" : fault_of(path);
}

/* Count the files below an open folder, which is closed then; bytecode can be missing. */
static unsigned long count_files(int folder)
{
    unsigned long count = 0;
    DIR *entries = folder < 0 ? NULL : fdopendir(folder);
    if (entries == NULL)
        return 0;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        struct stat seen;
        const char *name = entry->d_name;
        bool inner = entry->d_type == DT_DIR;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, BYTECODE) == 0)
            continue;
        if (entry->d_type == DT_UNKNOWN) /* some file systems do not say */
            inner = fstatat(folder, name, &seen, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(seen.st_mode);
        if (inner)
            count += count_files(
                openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        else
            count++;
    }
    closedir(entries);
    return count;
}

/* Tell whether a tree has all its files. What sweeps old files away takes some and leaves others,
   and no interpreter can say what it lacks when that is a part of itself. */
static bool is_whole(const char *tree)
{
    char path[PATH_SIZE];
    unsigned long laid;
    spell(path, "%s/" COUNT, tree);
    FILE *file = fopen(path, "re");
    bool known = file != NULL && fscanf(file, "%lu", &laid) == 1;
    if (file != NULL)
        fclose(file);
    if (!known)
        return false;
    int folder = open(tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return count_files(folder) > laid; /* and the count itself */
}

bool find_tree(char *tree)
{
    char path[PATH_SIZE];
    for (unsigned which = 0; which < PLACES; which++) {
        if (!place(which, path) || settle(path) != NULL)
            continue;
        spell(tree, "%s/%s", path, stamp.digest);
        if (fault_of(tree) == NULL && is_whole(tree))
            return true;
    }
    return false;
}

/* Make a folder and those above it; whether it is there now, the caller will see. */
static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    mkdir(path, 0700);
}

static int removed(const char *path, const struct stat *seen, int kind, struct FTW *where)
{
    (void)seen, (void)kind, (void)where;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

void remove_tree(const char *path)
{
    nftw(path, removed, OPEN_FILES, FTW_DEPTH | FTW_PHYS);
}

/* Open a folder and hold it; -1 if somebody else does, or removes it just now. Some file systems
   know no locks: what is held there, nobody can tell, and `unsure` is taken for an answer or not. */
static int hold(const char *path, bool unsure)
{
    struct stat seen;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return -1;
    bool held = flock(folder, LOCK_EX | LOCK_NB) == 0 || (unsure && errno != EWOULDBLOCK);
    if (held && fstat(folder, &seen) == 0 && seen.st_nlink > 0)
        return folder;
    close(folder);
    return -1;
}

/* Remove what others began and did not finish, because they were killed. */
static void sweep(const char *path)
{
    DIR *entries = opendir(path);
    if (entries == NULL)
        return;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        char dead[PATH_SIZE];
        if (strncmp(entry->d_name, FRESH, strlen(FRESH)) != 0)
            continue;
        spell(dead, "%s/%s", path, entry->d_name);
        int folder = hold(dead, false);
        if (folder < 0)
            continue;
        remove_tree(dead);
        close(folder);
    }
    closedir(entries);
}

/* Open a new folder in a place; -1 and the reason if that cannot be. */
static int open_fresh(char *path, char *fresh, const char **reason)
{
    static char room[128];
    struct statvfs disk;
    make_folders(path);
    *reason = settle(path);
    if (*reason != NULL)
        return -1;
    sweep(path);
    if (statvfs(path, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < stamp.unpacked) {
        snprintf(room, sizeof room, "no room: %lu MB are needed",
                 (unsigned long)(stamp.unpacked / MEGABYTE + 1));
        *reason = room;
        return -1;
    }
    for (int attempt = 0; attempt < 10; attempt++) {
        spell(fresh, "%s/" FRESH "XXXXXX", path);
        if (mkdtemp(fresh) == NULL) {
            *reason = strerror(errno);
            fresh[0] = '\0';
            return -1;
        }
        /* Somebody who sweeps may have taken it before we hold it: then another one. */
        int folder = hold(fresh, true);
        if (folder >= 0)
            return folder;
    }
    fresh[0] = '\0';
    *reason = "folders vanish from it";
    return -1;
}

int begin_tree(char *fresh, char *tree)
{
    char path[PATH_SIZE], tried[2 * PATH_SIZE] = "";
    size_t length = 0;
    for (unsigned which = 0; which < PLACES; which++) {
        const char *reason;
        if (!place(which, path))
            continue;
        int folder = open_fresh(path, fresh, &reason);
        if (folder >= 0) {
            spell(tree, "%s/%s", path, stamp.digest);
            return folder;
        }
        if (length < sizeof tried)
            length += (size_t)snprintf(tried + length, sizeof tried - length,
                                       "\n  at        %s: %s", path, reason);
    }
    fail("name a folder of your own: " CACHE_VARIABLE "=FOLDER", "nowhere to unpack to%s", tried);
}

void finish_tree(const char *fresh, char *tree)
{
    if (rename(fresh, tree) == 0)
        return;
    if ((errno == EEXIST || errno == ENOTEMPTY) && fault_of(tree) == NULL) {
        if (is_whole(tree)) {
            remove_tree(fresh);
            return;
        }
        /* Something, as a sweeper of old files does, took parts of it away. */
        remove_tree(tree);
        if (rename(fresh, tree) == 0)
            return;
    }
    fail(NULL, "%s: %s", tree, strerror(errno));
}
