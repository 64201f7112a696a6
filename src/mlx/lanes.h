/* Where MLX's work goes. Each thread that composes has a lane: streams of its own, so that ranks
 * that are threads of one process never wait in each other's queue.
 *
 * MLX ties ordinary streams to the thread that made them; arrays composed in one thread and read in
 * another would fail. Lanes use the kind that any thread may use, of which MLX says that only one
 * thread may dispatch at a time: hence the lock of a lane, held while something is evaluated. */
#ifndef HK_MLX_LANES_H
#define HK_MLX_LANES_H

#include "mlx/types.h"

#include <atomic>
#include <mutex>
#include <vector>

namespace hk
{

struct Lane {
    mx::Stream compute; /* on MLX's default device */
    mx::Stream cpu;     /* the same one where that is the cpu */
    std::mutex dispatching;
    size_t number;
    std::atomic<bool> stuck = false; /* MLX waits there for a rank that will not come */
};

/* This thread's lane, from its first call until the thread ends. */
Lane &lane();

/* A lane for something that is no thread; give it back when nothing waits on it any more. */
Lane &lane_take();
void lane_give(Lane &lane);

/* From now on evaluate looks for failures while it waits: MLX's own collectives go on after one has
 * failed, and the next waits for ever. Costs a few microseconds an evaluation. */
void watch_evaluations();

/* Evaluates arrays, wherever they were composed, and waits. Throws what happened inside. */
void evaluate(std::vector<mx::array> arrays);

} // namespace hk

#endif
