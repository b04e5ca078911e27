/* Stands between a program and its file system: writes down what it does there, or refuses it.
 *
 * Loaded with LD_PRELOAD. Nothing happens until the program calls `disk_watch`. From then on all
 * that changes something below `root` is written to a log, in the order in which it was done, and
 * from the so-many-th call on, calls of the kinds asked for fail with an error number.
 *
 * The log is a sequence of records: the header below, the name, another name, data.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, MKDIR, WRITE, TRUNCATE, RENAME, LINK, UNLINK, RMDIR, SYMLINK, SYNC, MARK, MODE };
/* Kinds of calls that may be refused. */
enum { CREATES = 1, OPENS = 2, WRITES = 4, NAMES = 8, REMOVALS = 16, SYNCS = 32 };

struct header {
    uint32_t kind, name_bytes, other_bytes, unused;
    uint64_t inode;
    int64_t offset;
    uint64_t data_bytes;
};

#define MOST_FILES 65536
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[PATH_MAX];
static size_t root_bytes;
static int log_file = -1;
static long fail_from, count;
static int fail_error, fail_kinds;
static char tracked[MOST_FILES];

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

void disk_watch(const char *folder, const char *log, long from, int error, int kinds) {
    if (log) log_file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    fail_from = from;
    fail_error = error;
    fail_kinds = kinds;
    count = 0;
    snprintf(root, sizeof root, "%s", folder);
    root_bytes = strlen(root);
}

/* How many calls of those kinds were made. */
long disk_count(void) { return count; }

static void record(uint32_t kind, uint64_t inode, const char *name, const char *other,
                   int64_t offset, const void *data, size_t data_bytes) {
    if (log_file < 0) return;
    struct header header = {kind, name ? strlen(name) : 0, other ? strlen(other) : 0, 0,
                            inode, offset, data_bytes};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)name, header.name_bytes},
                            {(void *)other, header.other_bytes}, {(void *)data, data_bytes}};
    static ssize_t (*real)(int, const struct iovec *, int);
    if (!real) real = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    if (real(log_file, parts, 4) != (ssize_t)(sizeof header + header.name_bytes +
                                              header.other_bytes + data_bytes))
        abort();
}

/* A note of the program's own in the log. */
void disk_mark(const char *name) { record(MARK, 0, name, NULL, 0, NULL, 0); }

/* The absolute name, if it is the root or lies below; else NULL. */
static char *inside(int folder, const char *path, char *found) {
    if (!root_bytes || !path) return NULL;
    if (path[0] == '/') {
        snprintf(found, PATH_MAX, "%s", path);
    } else if (folder == AT_FDCWD) {
        char here[PATH_MAX / 2];
        if (!getcwd(here, sizeof here)) return NULL;
        snprintf(found, PATH_MAX, "%s/%s", here, path);
    } else {
        char link[64], there[PATH_MAX / 2];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, there, sizeof there - 1);
        if (size < 0) return NULL;
        there[size] = 0;
        snprintf(found, PATH_MAX, "%s/%s", there, path);
    }
    size_t end = strlen(found);
    while (end > 1 && found[end - 1] == '/') found[--end] = 0;
    if (strncmp(found, root, root_bytes)) return NULL;
    return found[root_bytes] == '/' || !found[root_bytes] ? found : NULL;
}

static int is_tracked(int file) { return file >= 0 && file < MOST_FILES && tracked[file]; }

static uint64_t inode_of(int file) {
    struct stat found;
    return fstat(file, &found) ? 0 : found.st_ino;
}

static int64_t mode_of(int file) {
    struct stat found;
    return fstat(file, &found) ? 0 : found.st_mode & 07777;
}

static uint64_t inode_at(const char *name) {
    struct stat found;
    return lstat(name, &found) ? 0 : found.st_ino;
}

static int refused(int kind) {
    if (!(fail_kinds & kind)) return 0;
    if (++count < fail_from || !fail_from) return 0;
    errno = fail_error;
    return 1;
}

/* Takes the lock for the time of a call. */
#define LOCKED                                                                                     \
    __attribute__((cleanup(unlock))) int held = pthread_mutex_lock(&lock);                         \
    (void)held
static void unlock(int *held) {
    int error = errno;
    (void)held;
    pthread_mutex_unlock(&lock);
    errno = error;
}

/* Opening */

static int opened(int folder, const char *path, int flags, mode_t mode) {
    static int (*real)(int, const char *, int, ...);
    if (!real) real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");
    char name[PATH_MAX];
    if (!inside(folder, path, name)) {
        int file = real(folder, path, flags, mode);
        if (is_tracked(file)) tracked[file] = 0;
        return file;
    }
    LOCKED;
    uint64_t before = flags & O_CREAT ? inode_at(name) : 1;
    if (refused(before ? OPENS : CREATES)) return -1;
    int file = real(folder, path, flags, mode);
    if (file < 0 || file >= MOST_FILES) return file;
    tracked[file] = 1;
    if ((flags & O_TMPFILE) == O_TMPFILE) return file;
    if (!before) record(CREATE, inode_of(file), name, NULL, mode_of(file), NULL, 0);
    else if (flags & O_TRUNC) record(TRUNCATE, inode_of(file), NULL, NULL, 0, NULL, 0);
    return file;
}

#define MODE_OF_CALL                                                                               \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }
int open(const char *path, int flags, ...) {
    MODE_OF_CALL
    return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE_OF_CALL
    return opened(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE_OF_CALL
    return opened(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE_OF_CALL
    return opened(folder, path, flags, mode);
}

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    char name[PATH_MAX];
    if (inside(AT_FDCWD, path, name)) {
        LOCKED;
        if (refused(OPENS)) return NULL;
    }
    return real(path);
}

int close(int file) {
    REAL(int, "close", int);
    if (is_tracked(file)) tracked[file] = 0;
    return real(file);
}

/* Contents */

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!is_tracked(file)) return real(file, data, size);
    LOCKED;
    if (refused(WRITES)) return -1;
    ssize_t done = real(file, data, size);
    if (done > 0)
        record(WRITE, inode_of(file), NULL, NULL, lseek(file, 0, SEEK_CUR) - done, data, done);
    return done;
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    if (!is_tracked(file)) return real(file, data, size, offset);
    LOCKED;
    if (refused(WRITES)) return -1;
    ssize_t done = real(file, data, size, offset);
    if (done > 0) record(WRITE, inode_of(file), NULL, NULL, offset, data, done);
    return done;
}

ssize_t writev(int file, const struct iovec *parts, int part_count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (!is_tracked(file)) return real(file, parts, part_count);
    ssize_t all = 0;
    for (int i = 0; i < part_count; i++) {
        ssize_t done = write(file, parts[i].iov_base, parts[i].iov_len);
        if (done < 0) return all ? all : done;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}

int ftruncate64(int file, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    if (!is_tracked(file)) return real(file, size);
    LOCKED;
    if (refused(WRITES)) return -1;
    int failed = real(file, size);
    if (!failed) record(TRUNCATE, inode_of(file), NULL, NULL, size, NULL, 0);
    return failed;
}

/* So that callers fall back to reads and writes. */
ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
    REAL(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    if (!is_tracked(to)) return real(to, from, offset, size);
    errno = EINVAL;
    return -1;
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size,
                        unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    if (!is_tracked(to)) return real(from, from_offset, to, to_offset, size, flags);
    errno = EXDEV;
    return -1;
}

static int synced(int (*real)(int), int file) {
    if (!is_tracked(file)) return real(file);
    LOCKED;
    if (refused(SYNCS)) return -1;
    int failed = real(file);
    if (!failed) record(SYNC, inode_of(file), NULL, NULL, 0, NULL, 0);
    return failed;
}
int fsync(int file) { REAL(int, "fsync", int); return synced(real, file); }
int fdatasync(int file) { REAL(int, "fdatasync", int); return synced(real, file); }

/* Modes */

int fchmod(int file, mode_t mode) {
    REAL(int, "fchmod", int, mode_t);
    if (!is_tracked(file)) return real(file, mode);
    LOCKED;
    int failed = real(file, mode);
    if (!failed) record(MODE, inode_of(file), NULL, NULL, mode, NULL, 0);
    return failed;
}

static int mode_set(int folder, const char *path, mode_t mode, int flags) {
    REAL(int, "fchmodat", int, const char *, mode_t, int);
    char name[PATH_MAX];
    if (!inside(folder, path, name)) return real(folder, path, mode, flags);
    LOCKED;
    int failed = real(folder, path, mode, flags);
    if (!failed) record(MODE, inode_at(name), NULL, NULL, mode, NULL, 0);
    return failed;
}
int chmod(const char *path, mode_t mode) { return mode_set(AT_FDCWD, path, mode, 0); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    return mode_set(folder, path, mode, flags);
}

/* Names */

static int made_folder(int folder, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    char name[PATH_MAX];
    if (!inside(folder, path, name)) return real(folder, path, mode);
    LOCKED;
    if (refused(NAMES)) return -1;
    int failed = real(folder, path, mode);
    if (!failed) record(MKDIR, inode_at(name), name, NULL, 0, NULL, 0);
    return failed;
}
int mkdir(const char *path, mode_t mode) { return made_folder(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made_folder(folder, path, mode); }

static int renamed(int from, const char *path, int to, const char *other) {
    REAL(int, "renameat", int, const char *, int, const char *);
    char name[PATH_MAX], other_name[PATH_MAX];
    char *before = inside(from, path, name), *after = inside(to, other, other_name);
    if (!before && !after) return real(from, path, to, other);
    LOCKED;
    if (refused(NAMES)) return -1;
    uint64_t inode = inode_at(before ? name : path);
    int failed = real(from, path, to, other);
    if (!failed) record(RENAME, inode, name, other_name, 0, NULL, 0);
    return failed;
}
int rename(const char *path, const char *other) { return renamed(AT_FDCWD, path, AT_FDCWD, other); }
int renameat(int from, const char *path, int to, const char *other) {
    return renamed(from, path, to, other);
}

static int linked(int from, const char *path, int to, const char *other, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    char name[PATH_MAX];
    if (!inside(to, other, name)) return real(from, path, to, other, flags);
    LOCKED;
    if (refused(NAMES)) return -1;
    int failed = real(from, path, to, other, flags);
    if (!failed) record(LINK, inode_at(name), name, NULL, 0, NULL, 0);
    return failed;
}
int link(const char *path, const char *other) { return linked(AT_FDCWD, path, AT_FDCWD, other, 0); }
int linkat(int from, const char *path, int to, const char *other, int flags) {
    return linked(from, path, to, other, flags);
}

static int made_link(const char *target, int folder, const char *path) {
    REAL(int, "symlinkat", const char *, int, const char *);
    char name[PATH_MAX];
    if (!inside(folder, path, name)) return real(target, folder, path);
    LOCKED;
    if (refused(NAMES)) return -1;
    int failed = real(target, folder, path);
    if (!failed) record(SYMLINK, inode_at(name), name, target, 0, NULL, 0);
    return failed;
}
int symlink(const char *target, const char *path) { return made_link(target, AT_FDCWD, path); }
int symlinkat(const char *target, int folder, const char *path) {
    return made_link(target, folder, path);
}

static int removed(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    char name[PATH_MAX];
    if (!inside(folder, path, name)) return real(folder, path, flags);
    LOCKED;
    if (refused(REMOVALS)) return -1;
    int failed = real(folder, path, flags);
    if (!failed) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, name, NULL, 0, NULL, 0);
    return failed;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
