/* What the two halves of the fault layer share. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* The control file is an array of 64-bit numbers, which tests/support/faults.rs writes and reads at
   the same places while the gateway runs. */
enum slot {
    KILL_POINT,    /* the process is killed ... */
    KILL_AFTER,    /* ... at this passage of the point, counted from 1 */
    HOLD_POINT,    /* threads are held ... */
    HOLD_AFTER,    /* ... from this passage on, until the point is changed */
    SYNC_ERROR,    /* errno of every fsync and fdatasync in the data folder; 0: they work */
    WRITE_ERROR,   /* errno of everything there that needs room; 0: it works */
    CLOCK_SECONDS, /* by how much the wall clock is wrong */
    HELD,          /* how many threads are held */
    JNL_ERROR,     /* errno of every write to the database's own journals (.jnl); 0: they work */
    PASSAGES = 16, /* from here on: how often each point was passed */
    SLOTS = 64
};

enum point {
    NOWHERE,
    CONNECTING, /* before a connection to the upstream */
    SENDING,    /* before and ... */
    SENT,       /* ... after each send to the upstream */
    RECEIVED,   /* after each receive from a client */
    ANSWERING,  /* before and ... */
    ANSWERED,   /* ... after each send to a client */
    WRITING,    /* before each write in the data folder */
    SYNCING,    /* before and ... */
    SYNCED,     /* ... after each sync of a file there */
    NAMING,     /* before a name there is made, changed or removed */
    TOUCHING    /* before any of these */
};

int64_t slot(enum slot name);

/* Whether the open file is in the data folder; of what kind, into *file. */
int in_data(int fd, struct stat *file);

/* The canonical path of an open file; 0 where it has none. */
int path_of(int fd, char *path);

/* Whether a canonical path is the data folder or in it. */
int is_data(const char *path);

/* The canonical path of the folder that the last name of path is in; 0 where there is none. */
int folder_of(int at, const char *path, char *folder);

/* The journal (journal.c). It does nothing where the test asked for none. */
void journal_start(const char *data);
void journal_opened(int fd, const struct stat *file);
void journal_truncating(int at, const char *path);
void journal_named(const char *folder);
void journal_made(const char *folder, const char *path);
ssize_t journal_write(int fd, const struct stat *file, const void *bytes, size_t length);
int journal_resize(int fd, const struct stat *file, off_t size);
uint64_t journal_mark(int fd, const struct stat *file);
void journal_synced(int fd, const struct stat *file, uint64_t mark, int failed);

#endif
