"""ResNets of one block a group, which the library has not: to import this is to add them to its depths.

10 has basic blocks, 14 has bottlenecks. With half of the blocks of the shallowest that the library has, or a quarter,
they take as much less to trace and to save.
"""

from mmv_tf.backbones import residual

residual.DEPTHS |= {10: ((1, 1, 1, 1), False), 14: ((1, 1, 1, 1), True)}
