// A fuzz target without libFuzzer: replays the files and folders named on the command line, then
// changes them at random for RILL_FUZZ_SECONDS (default 5) and feeds what comes out. The sequence
// of inputs is the same in every run, so a crash is found again; its number is printed every so
// often, and RILL_FUZZ_FROM=N begins at that number.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kLargest = 1 << 16;

/// SplitMix64 of (input number, draw): any input can be made without those before it.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  std::size_t below(std::size_t end) {
    return end == 0 ? 0 : static_cast<std::size_t>(next() % end);
  }

 private:
  std::uint64_t state_;
};

Input read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Pieces that the formats take seriously.
constexpr std::string_view kTokens[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        ",",
                                        ":",
                                        "\"",
                                        "'",
                                        "\n",
                                        "\r\n",
                                        "-",
                                        "0",
                                        "-1",
                                        "1e999",
                                        "nan",
                                        "9223372036854775807",
                                        "18446744073709551615",
                                        "18446744073709551616",
                                        "4294967296",
                                        "0.5",
                                        "null",
                                        "true",
                                        "\"__metadata__\":",
                                        "\"dtype\":",
                                        "\"F32\"",
                                        "\"shape\":",
                                        "\"data_offsets\":",
                                        "\"weight_map\":",
                                        "../",
                                        "\xff",
                                        "(",
                                        ")",
                                        "False",
                                        "'descr'",
                                        "'<f4'",
                                        "\"step\":",
                                        "\"split\":\"heldout\",",
                                        "\"loss\":",
                                        "[[[[[[[[",
                                        "\x1f\x8b"};

void insert(Input& input, std::size_t at, const std::uint8_t* data, std::size_t size) {
  input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), data, data + size);
}

void change(Input& input, const std::vector<Input>& seeds, Random& random) {
  const std::size_t at = random.below(input.size());
  switch (random.below(9)) {
    case 0:
      if (!input.empty()) input[at] ^= static_cast<std::uint8_t>(1 << random.below(8));
      break;
    case 1:
      if (!input.empty()) input[at] = static_cast<std::uint8_t>(random.next());
      break;
    case 2:
      input.resize(at);
      break;
    case 3: {
      const std::size_t count = random.below(std::min<std::size_t>(input.size() - at, 32) + 1);
      input.erase(input.begin() + static_cast<std::ptrdiff_t>(at),
                  input.begin() + static_cast<std::ptrdiff_t>(at + count));
      break;
    }
    case 4: {
      const std::string_view token = kTokens[random.below(std::size(kTokens))];
      insert(input, at, reinterpret_cast<const std::uint8_t*>(token.data()), token.size());
      break;
    }
    case 5: {  // an extreme integer over what is there
      const std::uint64_t value = random.below(2) ? ~std::uint64_t{0} << random.below(64)
                                                  : std::uint64_t{1} << random.below(64);
      for (std::size_t i = 0; i < 8 && at + i < input.size(); ++i)
        input[at + i] = static_cast<std::uint8_t>(value >> 8 * i);
      break;
    }
    case 6: {  // a piece of itself again
      const Input piece(input.begin() + static_cast<std::ptrdiff_t>(at), input.end());
      insert(input, random.below(input.size() + 1), piece.data(), random.below(piece.size() + 1));
      break;
    }
    case 7: {  // the end of another seed
      const Input& other = seeds[random.below(seeds.size())];
      input.resize(at);
      const std::size_t from = random.below(other.size());
      if (!other.empty()) insert(input, at, other.data() + from, other.size() - from);
      break;
    }
    case 8:  // a digit for a digit keeps texts whole
      for (std::size_t i = at; i < input.size(); ++i)
        if (input[i] >= '0' && input[i] <= '9') {
          input[i] = static_cast<std::uint8_t>('0' + random.below(10));
          break;
        }
      break;
  }
  if (input.size() > kLargest) input.resize(kLargest);
}

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Input> seeds;
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path path(argv[i]);
    std::vector<std::filesystem::path> files;
    if (std::filesystem::is_directory(path))
      for (const auto& entry : std::filesystem::directory_iterator(path))
        files.push_back(entry.path());
    else
      files.push_back(path);
    std::ranges::sort(files);
    for (const auto& file : files)
      if (std::filesystem::is_regular_file(file)) seeds.push_back(read(file));
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "usage: %s FILE_OR_FOLDER...\n", argv[0]);
    return 2;
  }
  for (const Input& seed : seeds) LLVMFuzzerTestOneInput(seed.data(), seed.size());

  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(number_from("RILL_FUZZ_SECONDS", 5));
  std::uint64_t number = number_from("RILL_FUZZ_FROM", 0);
  const std::uint64_t first = number;
  for (; std::chrono::steady_clock::now() < end; ++number) {
    if (number % 65536 == 0) {
      std::printf("input %llu\n", static_cast<unsigned long long>(number));
      std::fflush(stdout);
    }
    Random random(number);
    Input input = seeds[random.below(seeds.size())];
    for (std::size_t changes = 1 + random.below(6); changes > 0; --changes)
      change(input, seeds, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%llu inputs changed from %zu seeds, no finding\n",
              static_cast<unsigned long long>(number - first), seeds.size());
  return 0;
}
