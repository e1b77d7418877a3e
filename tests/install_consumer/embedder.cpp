// Texts to vectors by a published model: the three lines of a stranger's program. Prints the similarity of
// two texts.
#include <cstdio>

#include <headway/jobs/embedder.h>

int main(int, char** arguments) {
  const headway::jobs::Embedder embed(arguments[1]);
  const headway::Tensor rows = embed({"a b", "b a"}, {.normalize = true});
  const std::vector<float> values = rows.to_vector<float>();

  double similarity = 0;
  for (std::size_t c = 0; c < values.size() / 2; ++c)
    similarity += static_cast<double>(values[c]) * static_cast<double>(values[values.size() / 2 + c]);
  std::printf("%.6f\n", similarity);
  return rows.size(0) == 2 && similarity > -1.000001 && similarity < 0.999999 ? 0 : 1;
}
