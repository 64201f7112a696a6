/* The inside of an endpoint, shared by endpoint.c (locking, waiting), news.c (who has failed) and
 * self.c (messages to oneself). Everything here is protected by the endpoint's lock unless it says
 * otherwise. */
#ifndef HK_TRANSPORT_STATE_H
#define HK_TRANSPORT_STATE_H

#include "transport/call.h"
#include "transport/mailbox.h"
#include "transport/scratch.h"
#include "transport/window.h"
#include <pthread.h>
#include <stdatomic.h>

typedef enum hk_health {
    HK_ALIVE,
    HK_GONE, /* said goodbye to all its groups */
    HK_LOST  /* died, or its connection broke */
} hk_health;

typedef struct hk_neighbor {
    hk_health health;
    bool listening; /* news is posted */
    hocket_op news;
} hk_neighbor;

typedef struct hk_letter hk_letter; /* news on its way out */
typedef struct hk_shrink hk_shrink;
typedef struct hk_early hk_early;   /* news for a group that is not open yet */
typedef struct hk_former hk_former; /* a group that this rank has left before others */

struct hk_endpoint {
    const hocket_transport *transport;
    void *self;
    int rank, size;
    bool delegate;
    hk_choices choices; /* own rows of the table of choices; changes between collectives */

    pthread_mutex_t lock;
    atomic_int wanting; /* threads that want the lock; without the lock */
    bool leading;       /* a thread is in its waiting loop and makes progress for all */
    int followers;      /* threads that sleep on turn */
    pthread_mutex_t turn_lock;
    pthread_cond_t turn;             /* something was completed, or the lead is free */
    unsigned long turns;             /* how often that was said; under turn_lock */
    unsigned long completed, rounds; /* operations; rounds of progress */
    _Atomic hk_time looked; /* when a call last looked for news without having to wait; without the
                               lock */
    hk_time spin, yield;    /* how long a wait spins, then yields, before it sleeps */
    hk_time look;           /* between two looks for news that nobody waits for */

    bool has_thread, closing; /* background.c */
    int background;           /* nonblocking messages under way */
    pthread_t thread;
    pthread_cond_t idle;

    hk_error broken; /* the transport itself failed */
    bool faulty;     /* any group has had a fault */
    hk_neighbor *peers;
    hk_letter *letters;
    hk_early *early;
    int early_count;
    hk_former *formers;
    hk_comm *comms;
    int holds; /* hk_endpoint_hold */

    hk_scratch_shelf shelf;

    hk_mailbox own;   /* messages to oneself */
    hk_window unread; /* of them */
};

/* endpoint.c */
/* Mutexes are not fair: the leader, which holds the lock nearly always, lets those who want it
 * pass. */
void hk_endpoint_step_aside(hk_endpoint *endpoint);
/* One round of progress that may sleep that long, then the news it brought. */
void hk_endpoint_turn(hk_endpoint *endpoint, hk_time wait);

/* Lately. */
bool hk_endpoint_has_looked(const hk_endpoint *endpoint, hk_time now);

/* Of a slot that failed: its reason, or that it gave none, as this thread's error. */
hocket_status hk_endpoint_excuse(const hk_endpoint *endpoint, hocket_status status);

/* Sleeps until the leader has completed something or stops. */
void hk_endpoint_follow(hk_endpoint *endpoint);
/* Wakes those who sleep there: something was completed, or the lead is free. */
void hk_endpoint_call_followers(hk_endpoint *endpoint);

/* hk_comm_check with the lock held. */
hocket_status hk_comm_look(hk_comm *comm, hk_time now);

/* background.c */
/* Starts the thread where the transport needs it from the beginning. */
hocket_status hk_background_open(hk_endpoint *endpoint);
void hk_background_stop(hk_endpoint *endpoint);

/* news.c */
void hk_news_listen(hk_endpoint *endpoint);   /* posts the receives for news */
void hk_news_digest(hk_endpoint *endpoint);   /* reads what came, frees letters that have gone */
void hk_news_farewell(hk_endpoint *endpoint); /* to all: this endpoint closes */
void hk_news_fini(hk_endpoint *endpoint);
/* Replays what came early, and what was known of members before there was the group. */
void hk_news_opened(hk_comm *comm);
void hk_news_left(hk_comm *comm); /* to the members: this rank leaves */
/* To the members of the group, or of a part's group: what this rank is in. They answer, and
 * compare. */
void hk_news_roll_call(hk_comm *comm, const hk_what *what);
/* Breaks the group; the first error stays. tell: the members too. */
void hk_news_fault(hk_comm *comm, const hk_error *error, bool tell);
/* To the members of a broken group: this rank is not in its child of that context. */
void hk_news_absent(hk_comm *comm, uint64_t child);
/* The transport is broken: so is the group. */
void hk_news_transport_failed(hk_comm *comm);
int hk_comm_rank_of(const hk_comm *comm, int world_rank); /* -1: no member */
/* A member that left without having begun the collective of this number, which cannot end then; -1:
 * none. Nobody deserts messages (number 0). */
int hk_comm_deserter(const hk_comm *comm, uint64_t number);

/* This rank's set, to all members that are not in it. */
void hk_news_shrink(hk_comm *comm, const bool *out, bool decided);

/* shrink.c */
void hk_shrink_heard(hk_comm *comm, int from, const bool *out, bool decided);
void hk_shrink_free(hk_shrink *shrink);

/* self.c */
void hk_self_init(hk_endpoint *endpoint);
void hk_self_fini(hk_endpoint *endpoint);
hocket_status hk_self_post(hk_endpoint *endpoint, hocket_op *op);
void hk_self_cancel(hk_endpoint *endpoint, hocket_op *op);
void hk_self_forget(hk_endpoint *endpoint, uint64_t context);

/* former.c */
/* The group is closed here: what lies unread goes, and what its members still send when they have
 * left. */
void hk_former_begin(const hk_comm *comm);
/* News for the group of that context. False: it was never here. */
bool hk_former_heard(hk_endpoint *endpoint, uint64_t context, int from, bool left);
/* The peer has left all groups, or is lost. */
void hk_former_gone(hk_endpoint *endpoint, int peer);
void hk_former_fini(hk_endpoint *endpoint);

#endif
