"""Ranks add up for ever, until one of them ends as it is told to.

    end.py RANK killed|raises|leaves"""
import os
import signal
import sys
import time

import mlx.core as mx

mx.set_default_device(mx.cpu)
who, how = int(sys.argv[1]), sys.argv[2]
world = mx.distributed.init(strict=True)
x = mx.ones(1000)
for i in range(10**9):
    mx.eval(mx.distributed.all_sum(x))
    if i == 100 and world.rank() == who:
        print(f"ends at {time.time()}", flush=True)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raises":
            raise ValueError("an error of the program's own")
        break
