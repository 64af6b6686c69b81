// Trains a model on a series of numbers, from C++, into a folder that `rill` and the examples read.
//
//   train_series SERIES.csv OUT [STEPS]
#include <cstdio>
#include <cstdlib>
#include <exception>

#include <rill/rill.h>

int main(int argc, char** argv) try {
  using namespace rill;
  if (argc < 3) return 2;
  const auto data = open_dataset(std::string("csv:") + argv[1], {});
  ModelConfig config = ModelConfig::for_layer("lstm", 32, 2);
  data->describe(config);  // columns, scaling and task: predict the next row

  TrainOptions options{.length = 64, .batch = 8, .steps = argc > 3 ? std::atoll(argv[3]) : 80};
  options.adam.lr = 5e-3;
  const TrainHooks hooks{.record = [](const TrainRecord& r) {
    if (r.split == "heldout")
      std::printf("step %lld: %.4f\n", static_cast<long long>(r.step), r.loss);
  }};
  Exec exec;
  const TrainResult result = train(exec, config, *data, options, argv[2], /*resume=*/false, hooks);
  std::printf("held-out loss %.4f, %s\n", result.heldout_loss, data->unit().c_str());
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
