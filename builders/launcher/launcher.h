/* What the parts of the launcher share. The build gives NAME, CACHE_VARIABLE, GLIBC, SITE by -D. */

#ifndef LAUNCHER_H
#define LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>

enum { PATH_SIZE = 4096 }; /* bytes, with the NUL: what Linux takes as a path */

#define COUNT ".files" /* in a tree: how many files were laid, without bytecode */

/* What the file carries behind its ELF part: two zip archives, the interpreter's and a PEX. */
struct stamp {
    char mark[16];     /* by these bytes the build finds the stamp, to fill in the rest */
    char digest[40];   /* of all that is carried; the name of the tree */
    uint64_t runtime;  /* bytes: where the first archive begins, and the ELF part ends */
    uint64_t pex;      /* bytes: where the second one begins */
    uint64_t end;      /* bytes: the size of the whole file */
    uint64_t unpacked; /* bytes: what the tree takes on a disk, about */
    uint32_t crc;      /* CRC-32 of everything from `runtime` to `end` */
    uint32_t unused;
};

extern const struct stamp stamp;

/* launcher.c: say why it ends, with a hint that may be NULL, and end; takes away what is half made. */
_Noreturn void fail(const char *hint, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void damaged(void);
/* launcher.c: write a path, which must not be longer than paths are. */
void spell(char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* place.c: give the tree as it was unpacked before; false if there is none. */
bool find_tree(char *tree);
/* place.c: open a new folder for a tree, and say where the tree shall be in the end. */
int begin_tree(char *fresh, char *tree);
/* place.c: give a finished tree its name; of two that finish at once the first is kept. */
void finish_tree(const char *fresh, char *tree);
void remove_tree(const char *path);

/* unpack.c: lay all that this file carries in an open folder, and the count of files. */
void unpack(int folder);

#endif
