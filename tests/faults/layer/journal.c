/* What the data folder would hold had the machine lost power: every change since the last sync is
   written down, the bytes that were there before and those that came, and every file that was ever
   opened is kept by a second name, so that tests/support/power.rs can take back or leave each change.

   A file's content is durable once the file was synced. A folder's names are durable once the folder
   was; of a file or folder that was synced itself its own name is too, as ext4, XFS and btrfs have it.
   A sync that failed makes nothing durable that was written before it, not even if a later one
   succeeds, for the kernel may have dropped it (Rebello et al., USENIX ATC 2020). */

#define _GNU_SOURCE
#include "faults.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* One entry, followed by its bytes. Little-endian, as the machine. */
struct entry {
    uint32_t kind;   /* W write, T resize, S synced, E sync failed, D a folder's names */
    uint32_t length; /* of the bytes that follow */
    uint64_t inode;
    uint64_t a, b, c;
};

static int journal = -1;
static const char *kept;
static uint64_t entries;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A journal that can't be written proves nothing. */
static void must(int holds) {
    if (!holds) abort();
}

static void put(struct entry entry, const void *first, size_t first_length, const void *second, size_t second_length) {
    entry.length = first_length + second_length;
    struct iovec pieces[3] = {{&entry, sizeof entry}, {(void *)first, first_length}, {(void *)second, second_length}};
    must(syscall(SYS_writev, journal, pieces, 3) == (ssize_t)(sizeof entry + entry.length));
    entries++;
}

/* Keeps the inode by a second name. */
static void keep(int fd, uint64_t inode) {
    char from[32], to[PATH_MAX];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    snprintf(to, sizeof to, "%s/%llu", kept, (unsigned long long)inode);
    must(!syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) || errno == EEXIST);
}

/* D: the folder's path, then (inode, kind, name) each. a: durable as it is. */
static void put_names(const char *folder, int durable) {
    static char names[1 << 20], listed[1 << 16];
    struct stat file;
    int fd = syscall(SYS_openat, AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    must(!syscall(SYS_fstat, fd, &file));
    size_t length = strlen(folder) + 1;
    memcpy(names, folder, length);
    for (long n; (n = syscall(SYS_getdents64, fd, listed, sizeof listed)) > 0;) {
        for (long at = 0; at < n;) {
            struct dirent64 *one = (struct dirent64 *)(listed + at);
            at += one->d_reclen;
            if (!strcmp(one->d_name, ".") || !strcmp(one->d_name, "..")) continue;
            uint64_t inode = one->d_ino;
            size_t name = strlen(one->d_name) + 1;
            must(length + 9 + name <= sizeof names);
            memcpy(names + length, &inode, 8);
            names[length + 8] = one->d_type == DT_DIR ? 'd' : 'f';
            memcpy(names + length + 9, one->d_name, name);
            length += 9 + name;
        }
    }
    syscall(SYS_close, fd);
    put((struct entry){'D', 0, file.st_ino, durable, 0, 0}, names, length, NULL, 0);
}

/* All that is there at the start is durable. */
static void put_tree(const char *folder) {
    put_names(folder, 1);
    DIR *listing = opendir(folder);
    must(listing != NULL);
    for (struct dirent *one; (one = readdir(listing));) {
        char path[PATH_MAX];
        if (!strcmp(one->d_name, ".") || !strcmp(one->d_name, "..")) continue;
        must(snprintf(path, sizeof path, "%s/%s", folder, one->d_name) < (int)sizeof path);
        if (one->d_type == DT_DIR) {
            put_tree(path);
            continue;
        }
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
        must(fd >= 0);
        keep(fd, one->d_ino);
        syscall(SYS_close, fd);
    }
    closedir(listing);
}

void journal_start(const char *data) {
    const char *path = getenv("FAULTS_JOURNAL");
    kept = getenv("FAULTS_KEPT");
    if (!path || !kept) return;
    journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC);
    must(journal >= 0);
    put_tree(data);
}

#define LOCKED                                                                                                         \
    if (journal < 0) return;                                                                                           \
    pthread_mutex_lock(&lock)
#define UNLOCK pthread_mutex_unlock(&lock)

void journal_opened(int fd, const struct stat *file) {
    LOCKED;
    if (S_ISREG(file->st_mode)) keep(fd, file->st_ino);
    UNLOCK;
}

void journal_named(const char *folder) {
    LOCKED;
    put_names(folder, 0);
    UNLOCK;
}

void journal_made(const char *folder, const char *path) {
    LOCKED;
    char made[PATH_MAX];
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    must(fd >= 0 && path_of(fd, made));
    syscall(SYS_close, fd);
    put_names(made, 1);
    put_names(folder, 0);
    UNLOCK;
}

/* The bytes from an offset on, as far as there are any but zeros: *length comes back smaller. */
static char *bytes_at(int fd, off_t offset, size_t *length) {
    char path[32], *bytes = malloc(*length + 1);
    must(bytes != NULL);
    /* The descriptor itself may be open for writing only. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reading = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    must(reading >= 0);
    size_t have = 0;
    for (ssize_t n; have < *length && (n = syscall(SYS_pread64, reading, bytes + have, *length - have, offset + have)) > 0;)
        have += n;
    syscall(SYS_close, reading);
    while (have && !bytes[have - 1]) have--;
    *length = have;
    return bytes;
}

/* W: a offset, b length of the new bytes, c size before; the old bytes, then the new ones. */
ssize_t journal_write(int fd, const struct stat *file, const void *bytes, size_t length) {
    if (journal < 0) return syscall(SYS_write, fd, bytes, length);
    pthread_mutex_lock(&lock);
    struct stat now;
    must(!syscall(SYS_fstat, fd, &now));
    int appends = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    off_t offset = appends ? now.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
    size_t before = length;
    char *old = bytes_at(fd, offset, &before);
    put((struct entry){'W', 0, file->st_ino, offset, length, now.st_size}, old, before, bytes, length);
    free(old);
    ssize_t written = syscall(SYS_write, fd, bytes, length);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

/* T: a new size, c size before; the bytes that were cut off. */
static void put_resize(int fd, uint64_t inode, off_t size, off_t before) {
    size_t cut = before > size ? before - size : 0;
    char *old = bytes_at(fd, size, &cut);
    put((struct entry){'T', 0, inode, size, 0, before}, old, cut, NULL, 0);
    free(old);
}

int journal_resize(int fd, const struct stat *file, off_t size) {
    if (journal < 0) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    struct stat now;
    must(!syscall(SYS_fstat, fd, &now));
    put_resize(fd, file->st_ino, size, now.st_size);
    int result = syscall(SYS_ftruncate, fd, size);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

/* Before an open that empties what is there. */
void journal_truncating(int at, const char *path) {
    LOCKED;
    struct stat file;
    int error = errno, fd = syscall(SYS_openat, at, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && !syscall(SYS_fstat, fd, &file) && S_ISREG(file.st_mode) && file.st_size) {
        keep(fd, file.st_ino);
        put_resize(fd, file.st_ino, 0, file.st_size);
    }
    if (fd >= 0) syscall(SYS_close, fd);
    errno = error;
    UNLOCK;
}

/* Before a sync: what it will cover is in the first so many entries, names included. */
uint64_t journal_mark(int fd, const struct stat *file) {
    if (journal < 0) return 0;
    char path[PATH_MAX], folder[PATH_MAX];
    pthread_mutex_lock(&lock);
    if (path_of(fd, path) && folder_of(AT_FDCWD, path, folder)) {
        if (S_ISDIR(file->st_mode)) put_names(path, 0);
        if (is_data(folder)) put_names(folder, 0);
    }
    uint64_t mark = entries;
    pthread_mutex_unlock(&lock);
    return mark;
}

/* S and E, after one: a the mark; the path. */
void journal_synced(int fd, const struct stat *file, uint64_t mark, int failed) {
    LOCKED;
    char path[PATH_MAX];
    if (path_of(fd, path))
        put((struct entry){failed ? 'E' : 'S', 0, file->st_ino, mark, 0, 0}, path, strlen(path), NULL, 0);
    UNLOCK;
}
