#include "train/state.h"

#include <headway/io/atomic_file.h>

#include "io/json.h"

namespace headway::inline v1::train {
namespace {
constexpr int kVersion = 2;  // 2 brought the identity
}

std::string state_text(const TrainState& s) {
  io::OrderedJson json;
  json["format_version"] = kVersion;
  json["step"] = s.step;
  json["epoch"] = s.position.epoch;
  json["batch"] = s.position.batch;
  json["generator"] = {{"seed", s.seed}, {"next_call", s.next_call}};
  json["total_steps"] = s.total_steps;
  json["schedule"] = {{"decay", name_of(s.schedule.decay)},
                      {"rate", s.schedule.rate},
                      {"warmup", s.schedule.warmup},
                      {"steps", s.schedule.steps},
                      {"floor", s.schedule.floor}};
  json["best_score"] = s.best_score ? io::OrderedJson(*s.best_score) : io::OrderedJson(nullptr);
  json["best_step"] = s.best_step;
  json["stale"] = s.stale;
  json["average_updates"] = s.average_updates;
  json["tokens"] = s.tokens;
  json["seconds"] = s.seconds;
  json["log_bytes"] = s.log_bytes;
  json["identity"] = s.identity;
  return io::dump_json(json) + "\n";
}

TrainState read_state(const std::filesystem::path& checkpoint) {
  const std::filesystem::path path = checkpoint / "state.json";
  const io::Json json = io::read_json(path);
  io::Fields fields(json, path.string());
  const int version = fields.version(kVersion);
  TrainState s;
  s.step = fields.get<std::int64_t>("step");
  s.position = {fields.get<std::int64_t>("epoch"), fields.get<std::int64_t>("batch")};
  io::Fields generator(fields.child("generator"), path.string() + ": generator");
  s.seed = generator.get<std::uint64_t>("seed");
  s.next_call = generator.get<std::uint64_t>("next_call");
  generator.finish();
  s.total_steps = fields.get<std::int64_t>("total_steps");
  io::Fields schedule(fields.child("schedule"), path.string() + ": schedule");
  s.schedule.decay = decay_named(schedule.get<std::string>("decay"));
  s.schedule.rate = schedule.get<double>("rate");
  s.schedule.warmup = schedule.get<std::int64_t>("warmup");
  s.schedule.steps = schedule.get<std::int64_t>("steps");
  s.schedule.floor = schedule.get<double>("floor");
  schedule.finish();
  if (!fields.child("best_score").is_null()) s.best_score = fields.get<double>("best_score");
  s.best_step = fields.get<std::int64_t>("best_step");
  s.stale = fields.get<std::int64_t>("stale");
  s.average_updates = fields.get<std::int64_t>("average_updates");
  s.tokens = fields.get<std::int64_t>("tokens");
  s.seconds = fields.get<double>("seconds");
  s.log_bytes = fields.get<std::int64_t>("log_bytes");
  if (version >= 2) {
    const io::Json& identity = fields.child("identity");
    io::Fields entries(identity, path.string() + ": identity");
    for (const auto& [name, value] : identity.items())
      s.identity[name] = entries.get<std::string>(name.c_str());
  }
  fields.finish();
  return s;
}

}  // namespace headway::inline v1::train
