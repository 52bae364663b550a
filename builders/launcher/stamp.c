/* The stamp, alone in its file: no compiler may take what it holds now for what it will hold. */

#include "launcher.h"

const struct stamp stamp = {.mark = {'l', 'a', 'u', 'n', 'c', 'h', 'e', 'r',
                                     '-', 's', 't', 'a', 'm', 'p', '-', '1'}};
