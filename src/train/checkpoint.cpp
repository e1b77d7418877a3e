#include <headway/train/checkpoint.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <headway/core/error.h>
#include <headway/io/atomic_file.h>

#include "train/state.h"

namespace headway::inline v1::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";

// The N of "step-N"; 0 for any other name.
std::int64_t step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return 0;
  name.remove_prefix(kPrefix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  const bool plain = error == std::errc() && end == name.data() + name.size() && step > 0;
  return plain && std::to_string(step) == name ? step : 0;
}

}  // namespace

void check_identity(const std::map<std::string, std::string>& recorded,
                    const std::map<std::string, std::string>& asked, std::string_view what) {
  for (const auto& [name, value] : recorded) {
    const auto found = asked.find(name);
    if (found != asked.end() && found->second == value) continue;
    fail(ErrorCode::value, "train",
         fmt::format("{} is of a run with {} {}, and {} is asked for; want the same, or a new folder", what,
                     name, value, found == asked.end() ? "none" : found->second));
  }
}

CheckpointStore::CheckpointStore(fs::path folder, int keep) : folder_(std::move(folder)), keep_(keep) {
  if (keep < 1) fail(ErrorCode::value, "checkpoint", fmt::format("keep is {}; want 1 or more", keep));
}

fs::path CheckpointStore::path(std::int64_t step) const {
  return folder_ / fmt::format("{}{}", kPrefix, step);
}

std::vector<std::int64_t> CheckpointStore::steps() const {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const std::int64_t step = step_of(entry->path().filename().string());
    if (step > 0 && entry->is_directory()) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::optional<fs::path> CheckpointStore::named(const char* pointer) const {
  const fs::path file = folder_ / pointer;
  if (!fs::exists(file)) return std::nullopt;
  std::string name = io::read_file(file, 256);
  while (!name.empty() && (name.back() == '\n' || name.back() == ' ')) name.pop_back();
  if (step_of(name) == 0 || !fs::is_directory(folder_ / name)) {
    fail(ErrorCode::format, "checkpoint", fmt::format("{} names no checkpoint beside it", file.string()));
  }
  return folder_ / name;
}

// LATEST and BEST follow from the newest state, so a kill between its rename and theirs is made good.
void CheckpointStore::point(const TrainState& state) const {
  const auto write = [&](const char* pointer, std::int64_t step) {
    const std::string text = fmt::format("{}{}\n", kPrefix, step);
    const fs::path file = folder_ / pointer;
    if (!fs::exists(file) || io::read_file(file) != text) io::write_file(file, text);
  };
  write("LATEST", state.step);
  if (state.best_step > 0 && fs::is_directory(path(state.best_step))) write("BEST", state.best_step);
}

void CheckpointStore::prune(const TrainState& state) const {
  std::vector<std::int64_t> old = steps();
  if (old.size() <= static_cast<std::size_t>(keep_)) return;
  old.resize(old.size() - static_cast<std::size_t>(keep_));
  for (const std::int64_t step : old) {
    if (step != state.best_step) io::remove_folder(path(step));
  }
}

std::int64_t CheckpointStore::recover() {
  if (!fs::exists(folder_)) return 0;
  io::remove_leftovers(folder_);
  const std::vector<std::int64_t> all = steps();
  if (all.empty()) return 0;
  const TrainState state = read_state(path(all.back()));
  point(state);
  prune(state);
  return all.back();
}

void CheckpointStore::save(const Checkpoint& checkpoint) {
  if (checkpoint.state.step < 1) {
    fail(ErrorCode::value, "checkpoint", fmt::format("step is {}; want 1 or more", checkpoint.state.step));
  }
  try {
    write(checkpoint);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::io) throw;
    fail(ErrorCode::io, "checkpoint",
         fmt::format("step {} cannot be saved in {}: {}", checkpoint.state.step, folder_.string(),
                     error.what()));
  }
}

void CheckpointStore::write(const Checkpoint& checkpoint) {
  io::make_folder(folder_);
  {
    io::AtomicFolder folder(path(checkpoint.state.step));
    const fs::path& at = folder.path();
    io::save_safetensors(at / "model.safetensors", checkpoint.model, {{"format", "headway"}});
    io::save_safetensors(at / "optimizer.safetensors", checkpoint.optimizer);
    if (!checkpoint.average.empty()) io::save_safetensors(at / "average.safetensors", checkpoint.average);
    if (!checkpoint.task.empty()) io::save_safetensors(at / "task.safetensors", checkpoint.task);
    for (const auto& [name, bytes] : checkpoint.files) io::write_file(at / name, bytes);
    io::write_file(at / "state.json", state_text(checkpoint.state));
    folder.commit();
  }
  point(checkpoint.state);
  prune(checkpoint.state);
}

Checkpoint CheckpointStore::load(std::int64_t step, const std::vector<std::string>& files) const {
  const fs::path at = path(step);
  Checkpoint checkpoint;
  checkpoint.state = read_state(at);
  if (checkpoint.state.step != step) {
    fail(ErrorCode::format, "checkpoint",
         fmt::format("{} holds step {}", at.string(), checkpoint.state.step));
  }
  checkpoint.model = io::load_safetensors(at / "model.safetensors").tensors;
  checkpoint.optimizer = io::load_safetensors(at / "optimizer.safetensors").tensors;
  if (fs::exists(at / "average.safetensors")) {
    checkpoint.average = io::load_safetensors(at / "average.safetensors").tensors;
  }
  if (fs::exists(at / "task.safetensors"))
    checkpoint.task = io::load_safetensors(at / "task.safetensors").tensors;
  for (const std::string& name : files) checkpoint.files[name] = io::read_file(at / name);
  return checkpoint;
}

fs::path weights_in(const fs::path& checkpoint) {
  const fs::path average = checkpoint / "average.safetensors";
  return fs::exists(average) ? average : checkpoint / "model.safetensors";
}

fs::path find_checkpoint(const fs::path& place) {
  if (fs::exists(place / "state.json")) return place;
  const CheckpointStore store(place);
  if (auto best = store.best()) return *best;
  if (auto latest = store.latest()) return *latest;
  fail(ErrorCode::io, "checkpoint",
       fmt::format("{} is neither a run nor a checkpoint: it has no LATEST and no state.json",
                   place.string()));
}

}  // namespace headway::inline v1::train
