"""Records between programs and user space through shared memory: ring buffers, perf buffers, user ring buffers."""
