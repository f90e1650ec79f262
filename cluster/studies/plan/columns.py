"""Columns of the tables of a shape."""

LOOP, SLOWEST, ROW_J = range(3)
"""Columns of ``decode[point, 3]``: a step with the return, its slowest stage, joules of a row."""
DECODE_COLUMNS = 3

SHORT, PROMPT_J, WORK = range(3)
"""First columns of ``chunks[budget, point, 14]``, all for one request: whether another prompt fits
beside it in one step, its joules, and its share of full steps (one stage: their loops; several:
at the slowest of them)."""
LAST = 3
"""One stage only: a prompt's last step alone."""
STEPS, LOOPS, FILL, LONG_STEPS, LONG_LOOPS = 4, 6, 8, 10, 12
"""One stage only, each in two columns, without a queued prompt, and the increase with one: steps
with chunks and their loops; duration of the prefill; steps and loops again, with a last step
counted by its length between a decode step and a full one."""
CROSS, CROSSED, HELD, GAIN, ROOM, ONCE = range(4, 10)
"""Several stages only: a cycle while chunks are in flight; from the start of the first chunk to the
end of the last one and the return, and its increase if a queued prompt fills up the last chunk;
the increase of both by another prompt in the same batch, and how many others fit; prompts of a
single chunk."""
CHUNK_COLUMNS = 14
