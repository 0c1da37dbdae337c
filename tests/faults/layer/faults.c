/* A layer between the gateway and its system, loaded into the real binary with LD_PRELOAD: it kills
   or holds the process at named points, fails writes and syncs of the data folder, and sets the wall
   clock wrong. What to do is read from a control file that both sides have open, so that it changes
   while the gateway runs. The gateway knows nothing of it.

   Rust's standard library calls the C library for all this. The one exception in the gateway is a
   rename by the crate tempfile, a system call of its own; journal.c sees what came of it. */

#define _GNU_SOURCE
#include "faults.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))
#define FILES 65536

static _Atomic int64_t *slots;
static char data[PATH_MAX];
static size_t data_length;
/* Sockets that we connected: to the upstream. All others are a client's. */
static _Atomic char upstream[FILES];

static void *real(void **kept, const char *name) {
    if (!*kept) *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}

__attribute__((constructor)) static void start(void) {
    const char *control = getenv("FAULTS_CONTROL"), *folder = getenv("FAULTS_DATA");
    if (!control || !folder) return;
    int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    void *mapped = mmap(NULL, SLOTS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) abort();
    syscall(SYS_close, fd);
    strncpy(data, folder, sizeof data - 1);
    data_length = strlen(data);
    journal_start(data);
    slots = mapped;
}

int64_t slot(enum slot name) { return slots ? slots[name] : 0; }

static void pass(enum point point) {
    if (!slots) return;
    slots[PASSAGES + point]++;
    if (slots[KILL_POINT] == point && atomic_fetch_sub(&slots[KILL_AFTER], 1) == 1) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (slots[HOLD_POINT] == point && atomic_fetch_sub(&slots[HOLD_AFTER], 1) <= 1) {
        slots[HELD]++;
        while (slots[HOLD_POINT] == point) usleep(1000);
        slots[HELD]--;
    }
}

static void touch(enum point point) {
    pass(TOUCHING);
    pass(point);
}

/* Whether what needs room is to fail now. */
static int full(void) {
    int64_t error = slot(WRITE_ERROR);
    if (error) errno = (int)error;
    return error != 0;
}

int path_of(int fd, char *path) {
    char link[32] = "/proc/self/fd/", digits[12];
    int n = 0, at = 14;
    do digits[n++] = '0' + fd % 10; while (fd /= 10);
    while (n) link[at++] = digits[--n];
    link[at] = 0;
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length <= 0 || path[0] != '/') return 0;
    path[length] = 0;
    return 1;
}

/* Whether this is a journal of the database, and writes to those are to fail now. */
static int is_failing_journal(int fd) {
    char path[PATH_MAX];
    int64_t error = slot(JNL_ERROR);
    size_t length = error && path_of(fd, path) ? strlen(path) : 0;
    if (length < 4 || strcmp(path + length - 4, ".jnl")) return 0;
    errno = (int)error;
    return 1;
}

int is_data(const char *path) {
    return data_length && !strncmp(path, data, data_length) && (path[data_length] == '/' || !path[data_length]);
}

int in_data(int fd, struct stat *file) {
    char path[PATH_MAX];
    if (!slots || syscall(SYS_fstat, fd, file)) return 0;
    return (S_ISREG(file->st_mode) || S_ISDIR(file->st_mode)) && path_of(fd, path) && is_data(path);
}

int folder_of(int at, const char *path, char *folder) {
    char name[PATH_MAX];
    strncpy(name, path, sizeof name - 1);
    name[sizeof name - 1] = 0;
    char *slash = strrchr(name, '/');
    if (slash == name) slash++;
    if (slash) *slash = 0;
    int fd = syscall(SYS_openat, at, slash ? name : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return 0;
    int found = path_of(fd, folder);
    syscall(SYS_close, fd);
    return found;
}

/* Before a name changes: 1 if it is in the data folder, -1 if it is and there is to be no room. */
static int naming(int at, const char *path, char *folder, int needs_room) {
    int kept = errno;
    int ours = slots && folder_of(at, path, folder) && is_data(folder);
    errno = kept;
    if (!ours) return 0;
    touch(NAMING);
    return needs_room && full() ? -1 : 1;
}

/* Files and their names. */

static int opening(int at, const char *path, int flags, mode_t mode) {
    char folder[PATH_MAX];
    struct stat file;
    int named = flags & (O_CREAT | O_TRUNC) ? naming(at, path, folder, flags & O_CREAT) : 0;
    if (named < 0) return -1;
    if (named && (flags & O_TRUNC)) journal_truncating(at, path);
    int fd = syscall(SYS_openat, at, path, flags, mode);
    int kept = errno;
    if (fd >= 0 && in_data(fd, &file)) journal_opened(fd, &file);
    if (fd >= 0 && named) journal_named(folder);
    errno = kept;
    return fd;
}

#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opening(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opening(at, path, flags, mode); }

int mkdir(const char *path, mode_t mode) {
    char folder[PATH_MAX];
    int named = naming(AT_FDCWD, path, folder, 1);
    int result = named < 0 ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (named > 0 && !result) journal_made(folder, path);
    return result;
}

static int removing(int at, const char *path, int flags) {
    char folder[PATH_MAX];
    int named = naming(at, path, folder, 0);
    int result = syscall(SYS_unlinkat, at, path, flags);
    if (named && !result) journal_named(folder);
    return result;
}

int unlink(const char *path) { return removing(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return removing(at, path, flags); }
int rmdir(const char *path) { return removing(AT_FDCWD, path, AT_REMOVEDIR); }

int rename(const char *from, const char *to) {
    char source[PATH_MAX], target[PATH_MAX];
    int named = naming(AT_FDCWD, to, target, 0);
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (named && !result) {
        journal_named(target);
        if (folder_of(AT_FDCWD, from, source) && strcmp(source, target)) journal_named(source);
    }
    return result;
}

/* What is in files. */

ssize_t write(int fd, const void *bytes, size_t length) {
    struct stat file;
    if (!in_data(fd, &file)) return syscall(SYS_write, fd, bytes, length);
    touch(WRITING);
    return full() || is_failing_journal(fd) ? -1 : journal_write(fd, &file, bytes, length);
}

int ftruncate64(int fd, off_t size) {
    struct stat file;
    if (!in_data(fd, &file)) return syscall(SYS_ftruncate, fd, size);
    touch(WRITING);
    return size > file.st_size && full() ? -1 : journal_resize(fd, &file, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int syncing(int fd, long call) {
    struct stat file;
    if (!in_data(fd, &file)) return syscall(call, fd);
    touch(SYNCING);
    uint64_t mark = journal_mark(fd, &file);
    int error = (int)slot(SYNC_ERROR);
    if (!error && syscall(call, fd)) error = errno;
    journal_synced(fd, &file, mark, error != 0);
    pass(SYNCED);
    errno = error;
    return error ? -1 : 0;
}

int fsync(int fd) { return syncing(fd, SYS_fsync); }
int fdatasync(int fd) { return syncing(fd, SYS_fdatasync); }

/* Sockets. */

static int is_upstream(int fd) { return fd >= 0 && fd < FILES && upstream[fd]; }

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    static void *real_connect;
    int internet = address->sa_family == AF_INET || address->sa_family == AF_INET6;
    if (internet) pass(CONNECTING);
    if (internet && fd >= 0 && fd < FILES) upstream[fd] = 1;
    return REAL(connect)(fd, address, length);
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) upstream[fd] = 0;
    return syscall(SYS_close, fd);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    static void *real_send;
    int up = is_upstream(fd);
    pass(up ? SENDING : ANSWERING);
    ssize_t sent = REAL(send)(fd, bytes, length, flags);
    int kept = errno;
    if (sent > 0) pass(up ? SENT : ANSWERED);
    errno = kept;
    return sent;
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    struct stat file;
    int socket = !syscall(SYS_fstat, fd, &file) && S_ISSOCK(file.st_mode), up = is_upstream(fd);
    if (socket) pass(up ? SENDING : ANSWERING);
    ssize_t sent = syscall(SYS_writev, fd, pieces, count);
    int kept = errno;
    if (socket && sent > 0) pass(up ? SENT : ANSWERED);
    errno = kept;
    return sent;
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    static void *real_recv;
    ssize_t received = REAL(recv)(fd, bytes, length, flags);
    int kept = errno;
    if (received > 0 && !(flags & MSG_PEEK) && !is_upstream(fd)) pass(RECEIVED);
    errno = kept;
    return received;
}

/* The wall clock. The monotonic ones stay right, as they do when somebody sets a machine's time. */

int clock_gettime(clockid_t clock, struct timespec *time) {
    static void *real_clock_gettime;
    int result = REAL(clock_gettime)(clock, time);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += slot(CLOCK_SECONDS);
    return result;
}
