#include <headway/train/checkpoint.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/core/factory.h>

#include "io/temporary.h"

namespace headway::train {
namespace {

namespace fs = std::filesystem;
using test::get;
using test::put;
using test::TemporaryFolder;
using testing::ElementsAre;

Checkpoint checkpoint_at(std::int64_t step, std::int64_t best = 0) {
  Checkpoint c;
  c.model = {{"w", full({2}, static_cast<double>(step))}};
  c.optimizer = {{"w.first", zeros({2})}};
  c.files = {{"config.json", "{}"}, {"tokenizer.model", std::string("\0\xff", 2)}};
  c.state.step = step;
  c.state.best_step = best;
  return c;
}

TEST(Checkpoint, comes_back_whole) {
  const TemporaryFolder folder;
  Checkpoint before = checkpoint_at(7);
  before.average = {{"w", ones({2})}};
  before.state = {.step = 7,
                  .position = {2, 5},
                  .seed = ~std::uint64_t{0},
                  .next_call = 123,
                  .total_steps = 900,
                  .schedule = {.decay = Decay::cosine, .rate = 0.1, .warmup = 9, .steps = 900, .floor = 0.01},
                  .best_score = 0.1 + 0.2,
                  .best_step = 7,
                  .stale = 1,
                  .average_updates = 7,
                  .tokens = 12345,
                  .seconds = 1.5,
                  .log_bytes = 88,
                  .identity = {{"corpus", "sha256 12ab"}, {"micro_batches", "4"}}};
  before.task = {{"memory", full({3}, 5)}};
  CheckpointStore store(folder.path());
  store.save(before);
  const Checkpoint after = store.load(7, {"tokenizer.model"});
  EXPECT_EQ(after.model[0].tensor.to_vector<float>(), (std::vector<float>{7, 7}));
  EXPECT_EQ(after.average[0].tensor.to_vector<float>(), (std::vector<float>{1, 1}));
  EXPECT_EQ(after.files.at("tokenizer.model"), std::string("\0\xff", 2));
  const TrainState &a = before.state, &b = after.state;
  EXPECT_EQ(a.position, b.position);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.next_call, b.next_call);
  EXPECT_EQ(a.total_steps, b.total_steps);
  EXPECT_EQ(b.schedule.decay, Decay::cosine);
  EXPECT_EQ(a.schedule.rate, b.schedule.rate);
  EXPECT_EQ(a.schedule.warmup, b.schedule.warmup);
  EXPECT_EQ(a.schedule.steps, b.schedule.steps);
  EXPECT_EQ(a.schedule.floor, b.schedule.floor);
  EXPECT_EQ(a.best_score, b.best_score);
  EXPECT_EQ(a.best_step, b.best_step);
  EXPECT_EQ(a.stale, b.stale);
  EXPECT_EQ(a.average_updates, b.average_updates);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.seconds, b.seconds);
  EXPECT_EQ(a.log_bytes, b.log_bytes);
  EXPECT_EQ(a.identity, b.identity);
  EXPECT_EQ(after.task.at(0).tensor.to_vector<float>(), (std::vector<float>{5, 5, 5}));
  EXPECT_EQ(store.latest(), folder / "step-7");
  EXPECT_EQ(weights_in(folder / "step-7"), folder / "step-7/average.safetensors");
}

TEST(Checkpoint, format_1_without_identity_is_read) {
  const TemporaryFolder folder;
  CheckpointStore store(folder.path());
  store.save(checkpoint_at(5));
  put(folder / "step-5/state.json",
      R"({"format_version": 1, "step": 5, "epoch": 2, "batch": 3, "generator": {"seed": 7, "next_call": 40},
          "total_steps": 90, "schedule": {"decay": "cosine", "rate": 0.003, "warmup": 4, "steps": 90, "floor": 0.0},
          "best_score": null, "best_step": 0, "stale": 0, "average_updates": 0, "tokens": 100, "seconds": 1.5,
          "log_bytes": 0})");
  const TrainState state = store.load(5).state;
  EXPECT_EQ(state.position, (BatchPosition{2, 3}));
  EXPECT_EQ(state.next_call, 40u);
  EXPECT_TRUE(state.identity.empty());
  check_identity(state.identity, {{"corpus", "any"}}, "it");
}

TEST(Checkpoint, an_identity_that_differs_is_named) {
  const std::map<std::string, std::string> recorded{{"corpus", "12ab"}, {"micro_batches", "4"}};
  const auto message = [&](const std::map<std::string, std::string>& asked) -> std::string {
    try {
      check_identity(recorded, asked, "run/step-5");
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message({{"corpus", "12ab"}, {"micro_batches", "4"}, {"newer", "x"}}), "");
  EXPECT_THAT(message({{"corpus", "12ac"}, {"micro_batches", "2"}}),
              testing::HasSubstr("run/step-5 is of a run with corpus 12ab, and 12ac is asked for"));
  EXPECT_THAT(message({{"corpus", "12ab"}}), testing::HasSubstr("micro_batches 4, and none is asked for"));
}

TEST(Checkpoint, the_last_few_and_the_best_are_kept) {
  const TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2);
  for (std::int64_t step = 1; step <= 7; ++step) store.save(checkpoint_at(step, step < 3 ? step : 3));
  EXPECT_THAT(store.steps(), ElementsAre(3, 6, 7));
  EXPECT_EQ(get(folder / "LATEST"), "step-7\n");
  EXPECT_EQ(store.best(), folder / "step-3");
  EXPECT_EQ(find_checkpoint(folder.path()), folder / "step-3");
  EXPECT_EQ(find_checkpoint(folder / "step-6"), folder / "step-6");
}

TEST(Checkpoint, recovery_makes_good_whatever_a_kill_left) {
  const TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2);
  EXPECT_EQ(store.recover(), 0);
  store.save(checkpoint_at(10));
  store.save(checkpoint_at(20, 20));
  // As after a kill between the folder's rename and that of LATEST, in the middle of the next write.
  put(folder / "LATEST", "step-10\n");
  fs::remove(folder / "BEST");
  fs::create_directory(folder / ".step-30.partial-123-4");
  put(folder / ".step-30.partial-123-4/model.safetensors", "half");
  EXPECT_EQ(store.recover(), 20);
  EXPECT_EQ(store.latest(), folder / "step-20");
  EXPECT_EQ(store.best(), folder / "step-20");
  EXPECT_FALSE(fs::exists(folder / ".step-30.partial-123-4"));
}

TEST(Checkpoint, an_existing_step_is_never_overwritten) {
  const TemporaryFolder folder;
  CheckpointStore store(folder.path());
  store.save(checkpoint_at(5));
  EXPECT_THROW(store.save(checkpoint_at(5)), Error);
  EXPECT_EQ(store.recover(), 5);
}

TEST(Checkpoint, broken_pointers_and_states_are_clear_errors) {
  const TemporaryFolder folder;
  CheckpointStore store(folder.path());
  store.save(checkpoint_at(5));
  put(folder / "LATEST", "../../etc\n");
  EXPECT_THROW(store.latest(), Error);
  put(folder / "LATEST", "step-6\n");
  EXPECT_THROW(store.latest(), Error);
  EXPECT_THROW(find_checkpoint(folder / "nothing"), Error);
  const std::string good = get(folder / "step-5/state.json");
  for (std::size_t length = 0; length + 2 < good.size(); ++length) {
    put(folder / "step-5/state.json", good.substr(0, length));
    EXPECT_THROW(store.load(5), Error) << length;
  }
  std::string newer = good;
  newer.replace(newer.find("\"format_version\": 2"), 19, "\"format_version\": 3");
  put(folder / "step-5/state.json", newer);
  EXPECT_THROW(store.load(5), Error);
}

}  // namespace
}  // namespace headway::train
