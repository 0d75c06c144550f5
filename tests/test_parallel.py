"""Mesh, placement and what a batch must fulfil."""

import jax
import numpy as np
import pytest

from vidjax import parallel


def test_mesh_takes_all_or_the_first_devices():
    assert dict(parallel.make_mesh().shape) == {"data": 8, "fsdp": 1, "model": 1}
    assert dict(parallel.make_mesh(2).shape) == {"data": 2, "fsdp": 1, "model": 1}
    with pytest.raises(ValueError, match=r"config.mesh.data = 9, but there are 8 devices"):
        parallel.make_mesh(9)


def test_placed_batch_is_split_and_comes_back_whole():
    mesh = parallel.make_mesh()
    batch = {"video": np.arange(16 * 3, dtype=np.uint8).reshape(16, 3), "label": np.arange(16, dtype=np.int32)}
    placed = parallel.place(batch, parallel.batch_sharding(mesh))
    assert {s.data.shape for s in placed["video"].addressable_shards} == {(2, 3)}
    assert placed["video"].dtype == np.uint8
    jax.tree.map(np.testing.assert_array_equal, parallel.gather(placed), batch)


def test_batch_size_must_split_evenly():
    mesh = parallel.make_mesh()
    parallel.check_batch_size(16, mesh, "train.batch_size")
    with pytest.raises(
        ValueError, match=r"config.train.batch_size = 12 cannot be split evenly over 8 devices; 8 or 16"
    ):
        parallel.check_batch_size(12, mesh, "train.batch_size")
    with pytest.raises(ValueError, match=r"; 8 would do"):
        parallel.check_batch_size(4, mesh, "train.batch_size")


def test_lists_of_one_process_are_left_alone():
    assert parallel.gather_lists([[1, "a"]]) == [[1, "a"]]
