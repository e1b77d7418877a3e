"""Tensors record what is done with them; optimizers follow their gradients."""

import copy
import threading

import numpy as np
import pytest

import headway as hw
import oracle

OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "matmul": lambda a, b: a @ b.transpose(0, 1),
    "scale": lambda a, b: 0.5 * a * 3.0 + -b,
    "views": lambda a, b: a.reshape([4, -1]).transpose(0, 1).slice(1, 1, 3) * b.reshape([3, 4]).slice(1, 0, 2),
    "concat": lambda a, b: hw.ops.concat([a, b], 1) * hw.ops.concat([b, a], 1),
    "gather": lambda a, b: hw.ops.gather(a, np.array([1, 0, 1], np.int32)) * b.slice(0, 0, 3),
    "relu": lambda a, b: hw.ops.relu(a) * b,
    "gelu": lambda a, b: hw.ops.gelu(a) * b,
    "gelu_tanh": lambda a, b: hw.ops.gelu_tanh(a) * b,
    "silu": lambda a, b: hw.ops.silu(a) * b,
    "tanh": lambda a, b: hw.ops.tanh(a) * b,
    "softmax": lambda a, b: hw.ops.softmax(a) * b,
    "log_softmax": lambda a, b: hw.ops.log_softmax(a) * b,
    "cross_entropy": lambda a, b: hw.ops.cross_entropy(a + b, np.array([2, 0, 1], np.int32), label_smoothing=0.1),
    "rotary": lambda a, b: hw.ops.rotary(a.reshape([1, 3, 1, 4])) * b.reshape([1, 3, 1, 4]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_of_an_operation_are_those_of_differences(name):
    operation = OPERATIONS[name]
    a, b = oracle.heads(1, (3, 4), (3, 4), dtype=np.float64)
    x, y = hw.tensor(a).require_grad(), hw.tensor(b).require_grad()
    operation(x, y).sum().backward()

    def value(a, b):
        with hw.no_grad():
            return operation(hw.tensor(a), hw.tensor(b)).sum().item()

    # Differences of float64 with steps of 1e-6 are good to about 1e-9.
    assert np.abs(x.grad.numpy() - oracle.gradient(lambda a: value(a, b), a)).max() < 1e-7
    assert np.abs(y.grad.numpy() - oracle.gradient(lambda b: value(a, b), b)).max() < 1e-7


def test_nothing_is_recorded_under_no_grad_however_it_is_nested():
    x = hw.tensor(np.ones(3, np.float32)).require_grad()
    silent = hw.no_grad()
    with silent:
        with silent:
            assert not (x + x).requires_grad
        assert not (x + x).requires_grad
    assert (x + x).requires_grad


def test_a_second_backward_and_a_seed_of_another_shape_are_errors():
    x = hw.tensor(np.ones(3, np.float32)).require_grad()
    y = x * x
    with pytest.raises(hw.Error):
        y.backward(np.ones(4, np.float32))
    y.backward(np.ones(3, np.float32))
    assert x.grad.numpy().tolist() == [2, 2, 2]
    with pytest.raises(hw.Error, match="backward"):
        y.backward(np.ones(3, np.float32))


def test_a_tensor_that_takes_a_gradient_shows_itself_read_only_and_is_assigned():
    x = hw.tensor(np.ones(3, np.float32)).require_grad()
    view = x.numpy()
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 2
    x.assign(np.array([2, 3, 4], np.float64))
    assert view.tolist() == [2, 3, 4]
    with pytest.raises(hw.Error, match="want equal shapes"):
        x.assign(np.zeros(4))


def test_a_saved_tensor_that_was_overwritten_is_an_error():
    x = hw.tensor(np.ones(3, np.float32)).require_grad()
    y = hw.tensor(np.ones(3, np.float32))
    z = x * y
    y.assign(np.zeros(3, np.float32))
    with pytest.raises(hw.Error, match="mul"):
        z.sum().backward()


def test_learned_positions_receive_their_gradient():
    q, k, v = oracle.heads(2, (1, 5, 2, 4), (1, 5, 2, 4), (1, 5, 2, 4))
    table, d_out = oracle.heads(3, (8, 2), (1, 5, 2, 4))
    learned = hw.tensor(table).require_grad()
    position = hw.Position.t5(learned, max_distance=16)
    seen = hw.attention(q, k, v, position=position, capture=hw.Capture(log_sum_exp=True))
    hw.attention_backward(
        d_out, q, k, v, seen.output, seen.log_sum_exp, position=position, needs=(False, False, False, False)
    )

    def loss(table):
        bias = np.zeros((1, 2, 5, 5))
        for i in range(5):
            for j in range(5):
                d = i - j  # T5's buckets: 4 for keys before the query, 4 for those after
                bias[0, :, i, j] = table[(4 if d < 0 else 0) + (abs(d) if abs(d) < 2 else 2)]
        return (oracle.attention(q, k, v, bias=bias) * d_out).sum()

    wanted = oracle.gradient(loss, table)
    assert np.abs(learned.grad.numpy() - wanted).max() <= 1e-8 + oracle.tolerance(wanted)


def test_adam_takes_the_papers_step():
    w = np.array([[1.0, -2.0], [0.5, 3.0]])
    parameter = hw.tensor(w).require_grad()
    optimizer = hw.train.Adam({"w": parameter}, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1)
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, 4):
        optimizer.zero_grad()
        (parameter * parameter).sum().backward()
        result = optimizer.step(0.01)
        gradient = 2 * w
        assert result.applied and np.isclose(result.gradient_norm, np.linalg.norm(gradient))
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        update = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        w = w - 0.01 * (update + 0.1 * w)
        assert np.abs(parameter.numpy() - w).max() < 1e-12


def test_an_optimizers_state_goes_on_where_it_was():
    def trained(steps, state=None):
        parameter = hw.tensor(np.array([[1.0, 2.0]])).require_grad()
        optimizer = hw.train.Adam({"w": parameter})
        if state:
            parameter.assign(state[0])
            optimizer.load_state_dict(state[1])
        for _ in range(steps):
            optimizer.zero_grad()
            (parameter * parameter).sum().backward()
            optimizer.step(0.1)
        return parameter.numpy().copy(), optimizer.state_dict()

    assert np.array_equal(trained(5)[0], trained(2, trained(3))[0])


def test_schedules_rise_and_fall():
    rate = hw.train.Schedule(1.0, warmup=4, decay=hw.train.Decay.linear, steps=8)
    assert [rate(step) for step in (1, 2, 4, 6, 8)] == [0.25, 0.5, 1, 0.5, 0]
    assert hw.train.paper_rate(512, 4000) == pytest.approx((512 * 4000) ** -0.5)
    with pytest.raises(hw.Error):
        hw.train.Schedule(1.0, decay=hw.train.Decay.cosine)


def test_an_average_stands_in_for_the_weights_for_a_while():
    parameter = hw.tensor(np.zeros((1, 2))).require_grad()
    average = hw.train.ExponentialAverage({"w": parameter}, 0.5)
    parameter.assign(np.ones((1, 2)))
    average.update()
    with average:
        assert 0 < parameter.numpy()[0, 0] < 1
    assert parameter.numpy()[0, 0] == 1


def test_a_model_of_python_learns_to_copy_the_first_token():
    class Model(hw.nn.Module):
        def __init__(self, generator):
            super().__init__()
            self.embedding = hw.nn.Embedding(10, 32, generator=generator)
            self.attention = hw.nn.MultiHeadAttention(32, 4, position=hw.Position.alibi(), generator=generator)
            self.output = hw.nn.Linear(32, 10, generator=generator)

        def __call__(self, ids):
            x = self.embedding(ids)
            return self.output(self.attention(x, mask=hw.Mask.causal()) + x)

    generator = hw.Generator(1)
    model = Model(generator)
    model.train(generator)
    optimizer = hw.train.Adam(model)
    rng = np.random.default_rng(0)
    for _ in range(150):
        ids = rng.integers(0, 10, (16, 6)).astype(np.int32)
        wanted = np.ascontiguousarray(np.repeat(ids[:, :1], 6, 1)).reshape(-1)
        loss = hw.ops.cross_entropy(model(ids).reshape([-1, 10]), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(5e-3)
    assert loss.item() < 1.5  # guessing costs ln 10 = 2.3


class Fit(hw.train.Task):
    """Lines through made points, with dropout on the inputs."""

    def __init__(self, dropout=0.0):
        initial = hw.Generator(1)
        self.model = hw.nn.Linear(4, 2, generator=initial)
        self.generator = hw.Generator(9)
        self.dropout = dropout

    def batch(self, number):
        x = np.random.default_rng(number).standard_normal((8, 4)).astype(np.float32)
        return x, x[:, :2] - x[:, 2:]

    def weight(self, batch):
        return float(len(batch[0]))

    def error(self, x, y):
        difference = self.model(x) - hw.tensor(y)
        return (difference * difference).sum() * (1 / 16)

    def loss(self, batch):
        x, y = hw.tensor(batch[0]), batch[1]
        return self.error(hw.ops.dropout(x, self.dropout, self.generator) if self.dropout else x, y)

    def evaluate(self, step):
        x, y = self.batch(10**6)
        return {"validation_loss": float(self.error(hw.tensor(x), y).item())}

    def weights(self):
        return self.model.weight.numpy().copy()


def trainer_of(task, **arguments):
    optimizer = hw.train.Adam(task.model, **arguments.pop("adam", {}))
    schedule = hw.train.Schedule(0.05, decay=hw.train.Decay.constant)
    return hw.train.Trainer(task, optimizer, schedule=schedule, **arguments)


def test_a_trainer_learns_and_goes_on_exactly_from_its_folder(tmp_path):
    whole = Fit(0.1)
    summary = trainer_of(whole, steps=60, micro_batches=4, evaluate_every=20).run()
    assert summary.ending == hw.train.Ending.completed and summary.steps == 60
    assert summary.best_score > -0.2
    first = Fit(0.1)
    trainer_of(first, steps=23, micro_batches=4, folder=tmp_path).run()
    second = Fit(0.1)
    assert trainer_of(second, steps=60, micro_batches=4, folder=tmp_path, evaluate_every=20).run().steps == 60
    assert (second.weights() == whole.weights()).all()
    with pytest.raises(hw.Error, match="micro_batches 4, and 2 is asked for"):
        trainer_of(Fit(0.1), steps=60, micro_batches=2, folder=tmp_path)


def test_hooks_see_and_change_the_gradients_in_order():
    task, seen = Fit(), []

    def scale(step):
        seen.append(("scale", step.step, sorted(step.keys())))
        for name in step.keys():
            step[name] = 0 * step[name].numpy()

    def look(step):
        seen.append(("look", step.step, float(np.abs(step["weight"].numpy()).max())))
        step["bias"] = None
        assert step["bias"] is None and len(step) == 2
        with pytest.raises(KeyError):
            step["wieght"]

    before = task.weights()
    on_step = lambda report: seen.append(("step", report.step, report.gradient_norm))
    trainer = trainer_of(task, steps=2, hooks=[scale, look], on_step=on_step)
    assert trainer.step() and trainer.step() and not trainer.step()
    one = [("scale", 1, ["bias", "weight"]), ("look", 1, 0.0), ("step", 1, 0.0)]
    assert seen == one + [(name, 2, value) for name, _, value in one]
    assert (task.weights() == before).all()
    assert trainer.summary.steps == 2


def test_an_error_in_a_callback_comes_out_of_the_training():
    def hook(step):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        trainer_of(Fit(), steps=2, hooks=[hook]).run()
    task = Fit()
    task.loss = lambda batch: 3.0
    with pytest.raises(hw.Error, match="want a Tensor"):
        trainer_of(task, steps=2).run()


def test_two_parts_summed_by_a_hook_give_the_bits_of_one_process():
    whole = Fit(0.1)
    trainer_of(whole, steps=3, micro_batches=2).run()
    ranks = [Fit(0.1), Fit(0.1)]
    sums = [None, None]
    barrier = threading.Barrier(2)

    def exchange(rank, step):
        sums[rank] = {name: step[name].numpy().copy() for name in step.keys()}
        barrier.wait()
        for name in sums[0]:
            step[name] = sums[0][name] + sums[1][name]
        barrier.wait()

    def run(rank):
        hooks = [lambda step: exchange(rank, step)]
        trainer_of(ranks[rank], steps=3, micro_batches=2, part=(rank, 2), hooks=hooks).run()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in ranks:
        assert (rank.weights() == whole.weights()).all()


def test_groups_by_name_freeze_and_slow():
    task = Fit()
    rules = [hw.train.GroupRule(["bias"], frozen=True), hw.train.GroupRule(["w*"], rate_factor=0.5, beta1=0.0)]
    optimizer = hw.train.Adam(task.model, groups=rules)
    before = task.model.bias.numpy().copy()
    hw.train.Trainer(task, optimizer, steps=3, hooks=[lambda step: step["weight"]]).run()
    assert (task.model.bias.numpy() == before).all()
    again = copy.deepcopy(optimizer)
    assert set(optimizer.state_dict()) == {"weight.first", "weight.second", "weight.steps"}
    assert set(again.state_dict()) == set(optimizer.state_dict())
    optimizer.set_frozen("bias", False)
    assert "bias.first" in optimizer.state_dict()
    with pytest.raises(hw.Error, match="names no parameter"):
        hw.train.Adam(task.model, groups=[hw.train.GroupRule(["wieght"])])
