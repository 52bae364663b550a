/*
 * Where trees lie: in a folder of the user's own that nobody else can write to. A tree appears
 * there by one rename, so a folder with its name is whole; what is being made has another name and
 * is held by a lock, and what nobody holds any more is swept by the next who makes one.
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

#define FRESH ".new-"
#define MEGABYTE 1000000

enum { PLACES = 4, OPEN_FILES = 16 };

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

/* Say what is wrong with a folder to start programs from; NULL if nothing is. */
static const char *fault_of(const char *path)
{
    struct stat link, folder, above;
    char parent[PATH_SIZE];
    spell(parent, "%s/..", path);
    if (lstat(path, &link) != 0 || stat(path, &folder) != 0 || stat(parent, &above) != 0)
        return strerror(errno);
    if (!S_ISDIR(folder.st_mode))
        return "it is no folder";
    if (link.st_uid != geteuid() || folder.st_uid != geteuid())
        return "it belongs to somebody else";
    if (folder.st_mode & (S_IWGRP | S_IWOTH))
        return "others can write to it";
    if ((above.st_mode & S_IWOTH) && !(above.st_mode & S_ISVTX))
        return "others can replace it";
    return NULL;
}

static bool is_whole(const char *tree)
{
    char path[PATH_SIZE];
    spell(path, "%s/" NAME ".py", tree);
    if (access(path, R_OK) != 0)
        return false;
    spell(path, "%s/python/bin/python3", tree);
    return access(path, X_OK) == 0;
}

bool find_tree(char *tree)
{
    char path[PATH_SIZE];
    for (unsigned which = 0; which < PLACES; which++) {
        if (!place(which, path) || fault_of(path) != NULL)
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
    *reason = fault_of(path);
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

void finish_tree(const char *fresh, const char *tree)
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
