"""Recurrence: PyTorch's LSTM and GRU with their weights, convolutional cells by hand, masks and streams."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.nn.recurrent import ConvGRUCell, ConvLSTMCell, GRUCell, LSTMCell, Recurrent, unroll

CELLS = {
    "lstm": (lambda: LSTMCell(3, 4, rngs=nnx.Rngs(0)), ()),
    "gru": (lambda: GRUCell(3, 4, rngs=nnx.Rngs(0)), ()),
    "conv_lstm": (lambda: ConvLSTMCell(3, 2, rngs=nnx.Rngs(0)), (3, 4)),
    "conv_gru": (lambda: ConvGRUCell(3, 2, rngs=nnx.Rngs(0)), (3, 4)),
}


@functools.cache
def cell_and_space(name):
    make, space = CELLS[name]
    return make(), space


@functools.cache
def runner(name, reverse=False):
    """`unroll` of a cell, compiled: clips of 4 frames, the mask and the state as arguments."""
    cell, _ = cell_and_space(name)
    return nnx.jit(lambda x, mask, state=None: unroll(cell, x, state, mask, reverse=reverse))


def draw(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def load(rnn: Recurrent, theirs, bias_of_hidden: bool) -> None:
    """PyTorch's weights into ours."""
    for layer, cells in enumerate(rnn.cells):
        for way, cell in enumerate(cells):
            weights = {
                name: getattr(theirs, f"{name}_l{layer}{'_reverse' * way}").detach().numpy()
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            cell.input.kernel.set_value(jnp.asarray(weights["weight_ih"].T))
            cell.hidden.kernel.set_value(jnp.asarray(weights["weight_hh"].T))
            both = weights["bias_ih"] + weights["bias_hh"]
            cell.input.bias.set_value(jnp.asarray(weights["bias_ih"] if bias_of_hidden else both))
            if bias_of_hidden:
                cell.hidden.bias.set_value(jnp.asarray(weights["bias_hh"]))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_are_pytorchs(cell, bidirectional):
    torch = needs("torch")
    torch.manual_seed(0)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    theirs = kind(5, 6, num_layers=2, bidirectional=bidirectional, batch_first=True)
    ours = Recurrent(cell, 5, 6, layers=2, bidirectional=bidirectional, rngs=nnx.Rngs(0))
    load(ours, theirs, bias_of_hidden=cell == "gru")
    x = draw((2, 4, 5))
    with torch.no_grad():
        expected, state = theirs(torch.from_numpy(x))
    final = state[0] if cell == "lstm" else state
    directions = 2 if bidirectional else 1
    outputs, last = jax.jit(ours)(jnp.asarray(x))
    chex.assert_trees_all_close(outputs, expected.numpy(), atol=1e-6)
    chex.assert_trees_all_close(last, np.concatenate(list(final[-directions:].numpy()), axis=-1), atol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolved(x, kernel, bias=0.0):
    """(H, W, I) by (k, k, I, O), padded with zeros: sums by hand."""
    k = kernel.shape[0]
    padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    out = np.zeros((*x.shape[:2], kernel.shape[-1]))
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            window = padded[row : row + k, column : column + k]
            out[row, column] = np.einsum("hwi,hwio->o", window, kernel) + bias
    return out


def weights_of(conv):
    return np.asarray(conv.kernel[...][0], np.float64)


@pytest.mark.parametrize("name", ["conv_lstm", "conv_gru"])
def test_convolutional_cells_by_hand(name):
    cell, space = cell_and_space(name)
    x = draw((1, 4, *space, 3))
    wx, bias = weights_of(cell.input), np.asarray(cell.input.bias[...])
    h, c = np.zeros((*space, 2)), np.zeros((*space, 2))
    expected = []
    for frame in x[0]:
        gates = convolved(frame, wx, bias)
        if name == "conv_lstm":
            i, f, g, o = np.split(gates + convolved(h, weights_of(cell.hidden)), 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            xr, xz, xn = np.split(gates, 3, axis=-1)
            hr, hz = np.split(convolved(h, weights_of(cell.gates)), 2, axis=-1)
            n = np.tanh(xn + convolved(sigmoid(xr + hr) * h, weights_of(cell.candidate)))
            z = sigmoid(xz + hz)
            h = (1 - z) * h + z * n
        expected.append(h)
    outputs, state = runner(name)(jnp.asarray(x), jnp.ones((1, 4), bool))
    chex.assert_trees_all_close(outputs[0], np.stack(expected).astype(np.float32), atol=1e-5)
    chex.assert_trees_all_close(state[0][0], expected[-1].astype(np.float32), atol=1e-5)


@settings(deadline=None, max_examples=8)
@given(counts=st.lists(st.booleans(), min_size=4, max_size=4), reverse=st.booleans())
@pytest.mark.parametrize("name", ["gru", "conv_lstm"])
def test_the_state_passes_over_masked_frames(name, counts, reverse):
    _, space = cell_and_space(name)
    run, x = runner(name, reverse), draw((1, 4, *space, 3))
    kept = [t for t in range(4) if counts[t]]
    # The frames that count, moved together; the rest of the clip is masked at its end or, in reverse, its beginning.
    order = [*kept, *(t for t in range(4) if not counts[t])]
    pressed = np.array([[i < len(kept) for i in range(4)]])
    outputs, state = run(jnp.asarray(x), jnp.array([counts]))
    together, other = run(jnp.asarray(x[:, order]), jnp.asarray(pressed))
    chex.assert_trees_all_close(state, other, atol=1e-6)
    for place, t in enumerate(kept):
        chex.assert_trees_all_close(outputs[:, t], together[:, place], atol=1e-6)
    if not kept:
        assert not any(np.asarray(part).any() for part in state)


@pytest.mark.parametrize("name", CELLS)
def test_a_clip_can_be_cut_anywhere(name):
    _, space = cell_and_space(name)
    run, x = runner(name), jnp.asarray(draw((2, 4, *space, 3)))
    mask = jnp.ones((2, 4), bool)
    outputs, end = run(x, mask)
    first, state = run(x, mask.at[:, 2:].set(False))
    chex.assert_trees_all_close(first[:, :2], outputs[:, :2], atol=1e-6)
    later, last = run(x, mask.at[:, :2].set(False), state)
    chex.assert_trees_all_close((later[:, 2:], last), (outputs[:, 2:], end), atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_frame_by_frame_are_the_whole_clip(cell):
    rnn, x, state = Recurrent(cell, 3, 4, layers=2, rngs=nnx.Rngs(0)), jnp.asarray(draw((2, 3, 3))), None
    outputs, last = jax.jit(rnn)(x)
    for t in range(3):
        output, state = rnn.step(x[:, t], state)
        chex.assert_trees_all_close(output, outputs[:, t], atol=1e-6)
    chex.assert_trees_all_close(output, last, atol=1e-6)


def test_dropout_lies_between_layers():
    x = jnp.asarray(draw((1, 2, 3)))
    for layers, moves in ((1, False), (2, True)):
        rnn = Recurrent("gru", 3, 16, layers=layers, dropout=0.5, rngs=nnx.Rngs(0))
        first, second = (rnn(x, rngs=nnx.Rngs(dropout=seed))[0] for seed in (0, 1))
        assert bool((first != second).any()) == moves


def test_cells_remember_and_convolutions_stay_outside_loops():
    cell, space = cell_and_space("conv_lstm")
    chex.assert_trees_all_equal(cell.input.bias[...], jnp.array([0, 0, 1, 1, 0, 0, 0, 0], jnp.float32))
    x = jnp.zeros((1, 4, *space, 3))
    if jax.default_backend() == "cpu":
        assert " while(" not in jax.jit(lambda x: unroll(cell, x)[0]).lower(x).as_text(dialect="hlo")


def test_what_cannot_be_built_is_named():
    with pytest.raises(ValueError, match="'rnn': must be one of lstm, gru"):
        Recurrent("rnn", 3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="layers = 0"):
        Recurrent("gru", 3, 4, layers=0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="bidirectional=False"):
        Recurrent("gru", 3, 4, bidirectional=True, rngs=nnx.Rngs(0)).step(jnp.zeros((1, 3)))
