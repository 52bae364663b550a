/*
 * The start of a program that is one file: becomes the interpreter of the tree that was unpacked
 * from this file before, or unpacks it first. Static, since the machine may have nothing but a
 * kernel and a C library for the interpreter.
 *
 * Where trees lie is for place.c, what the file carries for unpack.c.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher.h"

extern char **environ;

static char half_made[PATH_SIZE];

_Noreturn void fail(const char *hint, const char *format, ...)
{
    va_list arguments;
    fputs(NAME ": ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    if (hint != NULL)
        fprintf(stderr, "  hint      %s\n", hint);
    if (half_made[0] != '\0')
        remove_tree(half_made);
    exit(1);
}

_Noreturn void damaged(void)
{
    fail("copy it again from where it came", "this file is damaged");
}

void spell(char *path, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, PATH_SIZE, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= PATH_SIZE)
        fail("name a shorter folder: " CACHE_VARIABLE "=FOLDER", "a path is too long");
}

static _Noreturn void cannot_start(const char *python, int reason)
{
    if (reason == ENOENT && access(python, F_OK) == 0)
        fail(NULL, "this machine has no glibc: the interpreter needs " GLIBC " or later");
    fail(reason == EACCES ? "is the folder mounted noexec? " CACHE_VARIABLE "=FOLDER" : NULL,
         "the interpreter does not start: %s: %s", python, strerror(reason));
}

/* Run the interpreter once, with libraries of its own that ask most of the C library. */
static void try_out(const char *fresh)
{
    char python[PATH_SIZE];
    spell(python, "%s/python/bin/python3", fresh);
    char *words[] = {python, "-I", "-S", "-B", "-c", "import sqlite3, ssl", NULL};
    pid_t child;
    int status = 0;
    int reason = posix_spawn(&child, python, NULL, NULL, words, environ);
    if (reason != 0)
        cannot_start(python, reason);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail(NULL, "the interpreter got lost: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail(NULL, "the interpreter does not run here: it needs glibc " GLIBC " or later");
}

static void make_tree(char *tree)
{
    mode_t before = umask(022);
    int folder = begin_tree(half_made, tree);
    unpack(folder);
    try_out(half_made);
    /* Else a power cut after the rename could leave a tree of empty files. */
    if (syncfs(folder) != 0)
        fail(NULL, "%s: %s", half_made, strerror(errno));
    finish_tree(half_made, tree);
    half_made[0] = '\0';
    close(folder);
    umask(before);
}

static _Noreturn void start(const char *tree, int argc, char **argv)
{
    char python[PATH_SIZE], program[PATH_SIZE];
    spell(python, "%s/python/bin/python3", tree);
    spell(program, "%s/" NAME ".py", tree);
    char **words = calloc((size_t)argc + 4, sizeof *words);
    if (words == NULL)
        fail(NULL, "no memory");
    words[0] = python;
    words[1] = "-ISB";
    words[2] = program;
    for (int at = 1; at < argc; at++)
        words[at + 2] = argv[at];
    execv(python, words);
    cannot_start(python, errno);
}

int main(int argc, char **argv)
{
    char tree[PATH_SIZE];
    /* This file is read by it, and libraries that lie beside an interpreter are found by it. */
    if (access("/proc/self/exe", F_OK) != 0)
        fail("mount -t proc proc /proc", "/proc is not mounted");
    if (!find_tree(tree))
        make_tree(tree);
    start(tree, argc, argv);
}
