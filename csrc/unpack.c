/* unpack.h: openat2, digests, Zstandard. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "unpack.h"

/* Numbers from 424 on are the same on every architecture. */
enum { NR_OPENAT2 = 437 };

int native_openat2(int dirfd, const char *path, unsigned long long flags, unsigned long long mode, unsigned long long resolve) {
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    long fd = syscall(NR_OPENAT2, dirfd, path, &how, sizeof how);

    return fd < 0 ? -errno : (int)fd;
}

int native_setns(int fd, int kind) {
    return setns(fd, kind) < 0 ? -errno : 0;
}

/* --- SHA-256 (FIPS 180-4) ------------------------------------------------------------------------------------------- */

/* Python's own is not to be had in the executable: the static libpython 3.13 of Debian lacks the code that it calls (HACL). */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t turned(uint32_t word, int bits) {
    return word >> bits | word << (32 - bits);
}

static void take_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64], s[8];

    for (int i = 0; i < 16; i++, block += 4)
        w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    /* The words change places in each round: eight rounds, and each is where it was. */
    for (int i = 0; i < 64; i += 8)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            uint32_t a = s[(8 - j) & 7], b = s[(9 - j) & 7], c = s[(10 - j) & 7], e = s[(12 - j) & 7], f = s[(13 - j) & 7],
                     g = s[(14 - j) & 7];
            uint32_t chosen = (e & f) ^ (~e & g), most = (a & b) ^ (a & c) ^ (b & c);
            uint32_t one = s[(15 - j) & 7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + chosen + constants[i + j] + w[i + j];
            s[(11 - j) & 7] += one;
            s[(15 - j) & 7] = one + most + (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22));
        }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

void native_sha256_begin(struct sha256 *sum) {
    *sum = (struct sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
    };
}

void native_sha256_more(struct sha256 *sum, const void *data, size_t size) {
    const uint8_t *from = data;
    size_t held = sum->size % sizeof sum->block;

    sum->size += size;
    if (held) {
        size_t part = size < sizeof sum->block - held ? size : sizeof sum->block - held;
        memcpy(sum->block + held, from, part);
        from += part;
        size -= part;
        if (held + part < sizeof sum->block)
            return;
        take_block(sum->state, sum->block);
    }
    for (; size >= sizeof sum->block; from += sizeof sum->block, size -= sizeof sum->block)
        take_block(sum->state, from);
    memcpy(sum->block, from, size);
}

void native_sha256_end(struct sha256 *sum, uint8_t digest[32]) {
    uint64_t bits = sum->size * 8;
    uint8_t length[8];
    size_t held = sum->size % sizeof sum->block;
    static const uint8_t padding[64] = {0x80};

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    native_sha256_more(sum, padding, held < 56 ? 56 - held : 120 - held);
    native_sha256_more(sum, length, sizeof length);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(sum->state[i / 4] >> (24 - 8 * (i % 4)));
}

/* --- Zstandard ------------------------------------------------------------------------------------------------------ */

int native_zstd_begin(void **stream) {
    *stream = ZSTD_createDStream();
    return *stream ? 0 : -ENOMEM;
}

void native_zstd_end(void *stream) {
    ZSTD_freeDStream(stream);
}

long native_zstd_more(void *stream, const void *data, size_t size, size_t *used, void *out, size_t room, int *whole) {
    ZSTD_inBuffer from = {data, size, *used};
    ZSTD_outBuffer to = {out, room, 0};
    size_t left = ZSTD_decompressStream(stream, &to, &from);

    if (ZSTD_isError(left))
        return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM : -EINVAL;
    *used = from.pos;
    *whole = left == 0;
    return (long)to.pos;
}
