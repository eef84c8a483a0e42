/* `pyrun unpack`: what Python has no built-in for. Returns a value >= 0, or -errno. */

int native_openat2(int dirfd, const char *path, unsigned long long flags, unsigned long long mode, unsigned long long resolve);
int native_setns(int fd, int kind);

/* SHA-256, of bytes that come piece by piece. */
struct sha256 {
    uint32_t state[8];
    uint64_t size;
    uint8_t block[64];
};

void native_sha256_begin(struct sha256 *sum);
void native_sha256_more(struct sha256 *sum, const void *data, size_t size);
void native_sha256_end(struct sha256 *sum, uint8_t digest[32]);

/* Zstandard. A stream is begun, and ended in any case. */
int native_zstd_begin(void **stream);
void native_zstd_end(void *stream);

/* Unpacks what comes next. *used: how much of the data has been taken, before and after. *whole: whether a frame has just ended.
 * Returns how much was written. -EINVAL: this is no Zstandard, or is damaged, or wants more than 128 MiB of memory. */
long native_zstd_more(void *stream, const void *data, size_t size, size_t *used, void *out, size_t room, int *whole);
