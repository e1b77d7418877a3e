#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <headway/io/safetensors.h>
#include <headway/train/batch_position.h>
#include <headway/train/schedule.h>

namespace headway::inline v1::train {

/// state.json: everything a run needs, beside its tensors, to go on as if it had never stopped.
struct TrainState {
  std::int64_t step = 0;         ///< updates made
  BatchPosition position = {};   ///< the next batch
  std::uint64_t seed = 0;        ///< the generator of the dropout …
  std::uint64_t next_call = 0;   ///< … and the number of its next call
  std::int64_t total_steps = 0;  ///< length of the training; 0: not known yet
  Schedule schedule = {};
  std::optional<double> best_score = {};
  std::int64_t best_step = 0;  ///< 0: none yet
  std::int64_t stale = 0;      ///< evaluations since the best
  std::int64_t average_updates = 0;
  std::int64_t tokens = 0;     ///< target tokens trained on
  double seconds = 0;          ///< spent in all runs so far
  std::int64_t log_bytes = 0;  ///< length of log.jsonl
  /// What must be the same when the run is resumed; empty in checkpoints of format 1.
  std::map<std::string, std::string> identity = {};
};

struct Checkpoint {
  std::vector<io::NamedTensor> model = {}, optimizer = {};
  std::vector<io::NamedTensor> average = {};      ///< empty: none
  std::vector<io::NamedTensor> task = {};         ///< what the task carries on; empty: nothing
  std::map<std::string, std::string> files = {};  ///< further files by name: config.json, tokenizer.model
  TrainState state = {};
};

/// Error(value) naming the first entry of a run's `recorded` identity that is another, or missing, in what is
/// `asked` for. Entries that the run did not record pass: it was made before there were such.
HEADWAY_API void check_identity(const std::map<std::string, std::string>& recorded,
                                const std::map<std::string, std::string>& asked, std::string_view what);

/// The checkpoints of one run: folders step-N, which are complete from the moment they have that name and
/// never change, LATEST and BEST, files that name one of them.
class HEADWAY_API CheckpointStore {
 public:
  /// keep: how many of the last to keep, beside the best.
  explicit CheckpointStore(std::filesystem::path folder, int keep = 3);

  /// Steps that have a checkpoint, in order.
  std::vector<std::int64_t> steps() const;
  std::filesystem::path path(std::int64_t step) const;
  /// Folder LATEST or BEST names; nullopt when there is no such file. Error(format) when it names none.
  std::optional<std::filesystem::path> latest() const { return named("LATEST"); }
  std::optional<std::filesystem::path> best() const { return named("BEST"); }

  /// After a kill: removes half-written files and folders, and points LATEST and BEST at what the newest
  /// complete checkpoint says. Returns that checkpoint's step, 0 when there is none.
  std::int64_t recover();
  /// Writes step-N, then LATEST, then BEST, then removes what need not be kept.
  void save(const Checkpoint& checkpoint);
  /// `files` holds only those that are asked for.
  Checkpoint load(std::int64_t step, const std::vector<std::string>& files = {}) const;

 private:
  std::optional<std::filesystem::path> named(const char* pointer) const;
  void write(const Checkpoint& checkpoint);
  void point(const TrainState& state) const;
  void prune(const TrainState& state) const;
  std::filesystem::path folder_;
  int keep_;
};

/// The weights to use in a checkpoint folder: the average where the run kept one, else the last weights.
HEADWAY_API std::filesystem::path weights_in(const std::filesystem::path& checkpoint);
HEADWAY_API TrainState read_state(const std::filesystem::path& checkpoint);
/// Accepts a run's folder (its BEST, else its LATEST checkpoint) or a checkpoint folder itself.
HEADWAY_API std::filesystem::path find_checkpoint(const std::filesystem::path& run_or_checkpoint);

}  // namespace headway::inline v1::train
