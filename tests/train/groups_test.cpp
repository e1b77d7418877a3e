#include <headway/train/groups.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headway/train/checkpoint.h>

#include "io/temporary.h"
#include "train/tiny.h"

namespace headway::train {
namespace {

using test::TemporaryFolder;
using test::Tiny;
using testing::ElementsAre;

std::vector<nn::NamedParameter> named(const std::vector<std::pair<std::string, Shape>>& list) {
  std::vector<nn::NamedParameter> out;
  for (const auto& [name, shape] : list) out.push_back({name, require_grad(ones(shape, DType::float64))});
  return out;
}

std::vector<std::string> names_of(const ParameterGroup& group) {
  std::vector<std::string> names;
  for (const auto& parameter : group.parameters) names.push_back(parameter.name);
  return names;
}

TEST(Groups, the_first_rule_that_names_a_parameter_has_it) {
  const auto groups = make_groups(named({{"encoder.0.weight", {2, 2}},
                                         {"encoder.0.bias", {2}},
                                         {"encoder.1.weight", {2, 2}},
                                         {"head.weight", {2, 2}},
                                         {"head.bias", {2}}}),
                                  {{.names = {"encoder.0.*"}, .frozen = true},
                                   {.names = {"encoder.*", "head.bias"}, .rate_factor = 0.5, .beta2 = 0.9}});
  ASSERT_EQ(groups.size(), 5u);
  EXPECT_THAT(names_of(groups[0]), ElementsAre("encoder.0.weight"));
  EXPECT_THAT(names_of(groups[1]), ElementsAre("encoder.0.bias"));
  EXPECT_TRUE(groups[0].frozen && groups[1].frozen);
  EXPECT_THAT(names_of(groups[2]), ElementsAre("encoder.1.weight"));
  EXPECT_THAT(names_of(groups[3]), ElementsAre("head.bias"));
  EXPECT_EQ(groups[2].rate_factor, 0.5);
  EXPECT_EQ(groups[3].beta2, 0.9);
  EXPECT_TRUE(groups[2].decay);
  EXPECT_FALSE(groups[3].decay);
  EXPECT_THAT(names_of(groups[4]), ElementsAre("head.weight"));
  EXPECT_EQ(groups[4].rate_factor, 1);
}

TEST(Groups, a_name_that_fits_nothing_is_an_error) {
  try {
    make_groups(named({{"head.weight", {2, 2}}}), {{.names = {"haed.*"}}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("\"haed.*\" names no parameter"));
  }
}

TEST(Groups, have_weight_decay_and_betas_of_their_own) {
  // One step of AdamW from w = 1 with gradient g: w·(1 - rate·decay) - rate·g/|g|, whatever the betas; the
  // second step depends on them.
  const auto parameters = named({{"a", {1, 1}}, {"b", {1, 1}}, {"c", {1, 1}}});
  Adam adam({{.parameters = {parameters[0]}, .weight_decay = 0.5},
             {.parameters = {parameters[1]}, .beta1 = 0.0, .beta2 = 0.5},
             {.parameters = {parameters[2]}}},
            {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-12, .weight_decay = 0.1});
  for (const auto& p : parameters) p.tensor.set_grad(full({1, 1}, 2, DType::float64));
  adam.step(0.1);
  EXPECT_NEAR(parameters[0].tensor.item<double>(), 1 - 0.1 * 0.5 - 0.1, 1e-9);
  EXPECT_NEAR(parameters[1].tensor.item<double>(), 1 - 0.1 * 0.1 - 0.1, 1e-9);
  EXPECT_NEAR(parameters[2].tensor.item<double>(), 1 - 0.1 * 0.1 - 0.1, 1e-9);
  const double before = parameters[1].tensor.item<double>();
  for (const auto& p : parameters) p.tensor.set_grad(full({1, 1}, 1, DType::float64));
  adam.step(0.1);
  // first = 1; second = (0.5·(0.5·4) + 0.5·1)/(1 - 0.5²) = 1.5/0.75 = 2
  EXPECT_NEAR(parameters[1].tensor.item<double>(), before * (1 - 0.1 * 0.1) - 0.1 / std::sqrt(2.0), 1e-9);
  EXPECT_THROW(Adam(std::vector{ParameterGroup{.parameters = parameters, .beta1 = 1.0}}), Error);
  EXPECT_THROW(Adam(std::vector{ParameterGroup{.parameters = parameters, .weight_decay = -1.0}}), Error);
}

TrainerOptions options_of(std::int64_t steps) {
  return {.steps = steps, .schedule = {.decay = Decay::constant, .rate = 0.02}};
}

TEST(Groups, what_is_frozen_stays_and_no_gradient_is_computed_for_it) {
  Tiny tiny;
  tiny.optimizer = Adam(make_groups(tiny.parameters, {{.names = {"table"}, .frozen = true}}));
  const auto table = tiny.table.to_vector<float>(), weight = tiny.weight.to_vector<float>();
  Tiny::Task::Parts parts = tiny.parts();
  bool wanted = true;
  parts.loss = [&](const Batch& batch) {
    wanted = tiny.table.requires_grad();
    return tiny.loss(batch, true);
  };
  Tiny::Task task(parts);
  std::vector<std::string> seen;
  Trainer(task, tiny.optimizer, options_of(3), {.hooks = {[&](StepGradients& step) {
                                                  seen.clear();
                                                  for (const auto& g : step.gradients) seen.push_back(g.name);
                                                }}})
      .run();
  EXPECT_FALSE(wanted);
  EXPECT_THAT(seen, ElementsAre("weight", "bias"));
  EXPECT_EQ(tiny.table.to_vector<float>(), table);
  EXPECT_NE(tiny.weight.to_vector<float>(), weight);
  EXPECT_TRUE(tiny.table.requires_grad());  // as before the training
  EXPECT_FALSE(tiny.table.grad().defined());
}

TEST(Groups, a_parameter_in_no_group_is_frozen_and_one_of_another_model_an_error) {
  Tiny tiny, other;
  tiny.optimizer = Adam(std::vector{tiny.parameters[1], tiny.parameters[2]});
  const auto table = tiny.table.to_vector<float>();
  Tiny::Task task(tiny.parts());
  Trainer(task, tiny.optimizer, options_of(2)).run();
  EXPECT_EQ(tiny.table.to_vector<float>(), table);
  EXPECT_THROW(Trainer(task, other.optimizer, options_of(2)), Error);
}

TEST(Groups, what_is_thawed_on_the_way_goes_on_exactly_after_a_stop) {
  const auto train = [](Tiny& tiny, const std::filesystem::path& folder, std::int64_t stop_at) {
    tiny.optimizer = Adam(make_groups(tiny.parameters, {{.names = {"table"}, .frozen = true}}));
    std::atomic<bool> stop{false};
    TrainerOptions options = options_of(8);
    options.folder = folder;
    options.stop = &stop;
    Tiny::Task task(tiny.parts());
    const auto thaw = [&](StepGradients& step) {
      if (step.step >= 3) tiny.optimizer.set_frozen(0, false);  // from the next step on
    };
    Trainer(task, tiny.optimizer, options,
            {.hooks = {thaw}, .on_step = [&](const StepReport& r) { stop = r.step == stop_at; }})
        .run();
  };
  const TemporaryFolder folder;
  Tiny whole, stopped, resumed;
  const auto table = whole.table.to_vector<float>();
  train(whole, {}, 0);
  EXPECT_NE(whole.table.to_vector<float>(), table);
  train(stopped, folder / "run", 2);
  EXPECT_EQ(stopped.table.to_vector<float>(), table);
  EXPECT_EQ(stopped.optimizer.state().size(), 6u);  // no averages of what is frozen
  train(resumed, folder / "run", 0);
  EXPECT_EQ(resumed.weights(), whole.weights());
}

}  // namespace
}  // namespace headway::train
