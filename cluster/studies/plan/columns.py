"""Columns of the tables of a shape."""

LOOP, SLOWEST, ROW_J = range(3)
"""Columns of ``decode[point, 3]``: a step with the way back, its slowest stage, joules of a row."""
DECODE_COLUMNS = 3

SHORT, PROMPT_J, WORK = range(3)
"""First columns of ``chunks[budget, point, 14]``, all for one request: whether another prompt fits
beside it in one step, its joules, and its share of full steps (of one stage: their loops; of
several: at the slowest of them)."""
LAST = 3
"""Of one stage only: a prompt's last step alone."""
STEPS, LOOPS, FILL, LONG_STEPS, LONG_LOOPS = 4, 6, 8, 10, 12
"""Of one stage only, each in two columns, where no prompt waits behind, and what is added where one
does: steps with chunks and their loops; how long the prompt is under way; steps and loops again, a
last step as far as it is nearer to a full one than to a decode step."""
CROSS, CROSSED, HELD, GAIN, ROOM, ONCE = range(4, 10)
"""Of several stages only: a cycle while chunks are on their way; from the start of the first chunk
to the end of the last one and the way back, and how much longer that is where a prompt waits behind
and fills up the last chunk; what another prompt in the same batch adds to both,
and how many others fit; how many prompts are a single chunk."""
CHUNK_COLUMNS = 14
