/* fuzz.h: what the fuzz targets share. A target is one file: LLVMFuzzerTestOneInput gets bytes, lets the house work on
 * them, and asserts what has to hold. It stands on a unit test, whose helpers, world and checkers it uses, and begins
 * anew with each input, so that an input alone repeats what it has found. */
#ifndef FUZZ_H
#define FUZZ_H

#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* as the sources behind this have it */
#endif

#define main unit_main /* of the unit test, which is not called here */

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length);
int LLVMFuzzerInitialize(int *count, char ***arguments);

/* As main does: who writes to a child that was killed gets EPIPE. */
int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -1 : 0;
}

struct input {
    const unsigned char *at;
    size_t left;
};

/* The next byte, 0 behind the last. */
static inline unsigned char take_byte(struct input *input)
{
    if (input->left == 0) return 0;
    input->left--;
    return *input->at++;
}

/* The next COUNT bytes, or as many as there are. */
static inline struct input take_bytes(struct input *input, size_t count)
{
    struct input piece = *input;

    if (count < piece.left) piece.left = count;
    if (piece.left > 0) input->at += piece.left;
    input->left -= piece.left;
    return piece;
}

/* What is before the first STOP, which is passed over; all if there is none. */
static inline struct input take_until(struct input *input, int stop)
{
    const unsigned char *end = input->left > 0 ? memchr(input->at, stop, input->left) : NULL;
    struct input piece = take_bytes(input, end != NULL ? (size_t)(end - input->at) : input->left);

    if (end != NULL) (void)take_byte(input);
    return piece;
}

#endif
