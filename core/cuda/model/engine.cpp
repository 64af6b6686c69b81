#include <rill/core/cuda/model/engine.h>
#include <rill/core/cuda/model/memory.h>

#include <sys/mman.h>
#include <boost/context/detail/fcontext.hpp>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace rill::device_model {
namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr int kWarp = 32;
constexpr std::size_t kStackBytes = std::size_t{256} << 10;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kSharedLimit = std::size_t{227} << 10;  // of a block, sm_90
constexpr int kResidentBlocks = 3;
constexpr std::int64_t kIdleRounds = 200000;  // of threads that only wait for flags

enum class Status { kFresh, kReady, kBlockBarrier, kWarpBarrier, kSpinning, kDone };

// A stack with a page below it that nobody may touch.
class Stack {
 public:
  Stack() {
    void* memory = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(memory);
    mprotect(base_, kPage, PROT_NONE);
    clean();
  }
  ~Stack() { munmap(base_, kStackBytes + kPage); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  /// Frames that nobody returned from leave their redzones to whoever has the memory next.
  void clean() const {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(bottom(), kStackBytes);
#endif
  }
  std::byte* bottom() const { return base_ + kPage; }
  std::byte* top() const { return bottom() + kStackBytes; }

 private:
  std::byte* base_;
};

struct Fiber {
  Self self;
  Status status = Status::kFresh;
  std::unique_ptr<Stack> stack;
  fcontext_t context = nullptr;
  [[maybe_unused]] void* fake_stack = nullptr;  // AddressSanitizer's
};

struct Allocation {
  std::vector<std::byte> data;
  std::vector<Shadow> shadow;
};

}  // namespace

struct BlockState {
  std::vector<Fiber> threads;
  std::map<const void*, Allocation> shared;
  std::size_t shared_bytes = 0, dynamic_bytes = 0;
  std::uint32_t epoch = 1;  // block barriers passed
  int stalled = 0;          // turns that it loses
  // Two halves, so that one barrier an exchange is enough.
  std::vector<std::byte> exchange;  // [warps, 2, 32, kExchangeBytes]
};

namespace {

class Engine;
thread_local Engine* current_engine = nullptr;
thread_local Fiber* current_fiber = nullptr;
thread_local std::uint64_t schedule_seed = 0;
thread_local std::string error_sentence;
thread_local Card current_card;

class Engine {
 public:
  Engine(const char* kernel, Index3 grid, Index3 block, std::size_t shared_bytes, bool cooperative,
         ThreadFunction function, const void* closure)
      : kernel_(kernel),
        grid_(grid),
        block_(block),
        shared_bytes_(shared_bytes),
        cooperative_(cooperative),
        function_(function),
        closure_(closure),
        seed_(schedule_seed),
        random_(schedule_seed) {}

  void run() {
    const std::int64_t total = std::int64_t{grid_.x} * grid_.y * grid_.z;
    const std::size_t resident = cooperative_ ? static_cast<std::size_t>(total) : kResidentBlocks;
    std::int64_t next = 0, idle = 0;
    std::deque<std::unique_ptr<BlockState>> active;
    while (next < total || !active.empty()) {
      while (next < total && active.size() < resident) {
        const std::int64_t number = seed_ == 1 ? total - 1 - next : next;
        active.push_back(make_block(number));
        ++next;
      }
      bool progress = false, skipped = false;
      for (auto& block : active) {
        if (loses_turn(*block)) {
          skipped = true;
          continue;
        }
        progress = round(*block) || progress;
        if (failed_) return;
      }
      std::erase_if(active, [&](auto& block) {
        const bool done = std::ranges::all_of(
            block->threads, [](const Fiber& f) { return f.status == Status::kDone; });
        if (done) spare_blocks_.push_back(std::move(block));
        return done;
      });
      if (skipped && !progress) continue;
      idle = progress ? 0 : idle + 1;
      if (idle > kIdleRounds) return fail("threads wait for a flag that nobody sets");
      if (!progress && !any_spinning(active)) return fail(stuck(active));
    }
  }

  bool failed() const { return failed_; }
  const std::string& sentence() const { return sentence_; }
  const char* kernel() const { return kernel_; }
  const ThreadFunction& function() const { return function_; }
  const void* closure() const { return closure_; }
  std::size_t shared_bytes() const { return shared_bytes_; }

  void fail(const std::string& sentence) {
    failed_ = true;
    sentence_ = std::string(kernel_) + ": " + sentence;
  }

  /// From a fiber to the scheduler.
  static void leave([[maybe_unused]] Fiber& fiber, [[maybe_unused]] bool for_good = false) {
    Engine& engine = *current_engine;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake_stack, engine.main_bottom_,
                                   engine.main_size_);
#endif
    const transfer_t back = jump_fcontext(engine.main_, nullptr);
    engine.main_ = back.fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, &engine.main_bottom_, &engine.main_size_);
#endif
  }

  static void entry(transfer_t from) {
    Engine& engine = *current_engine;
    engine.main_ = from.fctx;
    Fiber& fiber = *static_cast<Fiber*>(from.data);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &engine.main_bottom_, &engine.main_size_);
#endif
    engine.function_(engine.closure_);
    fiber.status = Status::kDone;
    leave(fiber, true);
  }

 private:
  std::unique_ptr<BlockState> make_block(std::int64_t number) {
    std::unique_ptr<BlockState> block;
    if (spare_blocks_.empty()) {
      block = std::make_unique<BlockState>();
    } else {
      block = std::move(spare_blocks_.back());
      spare_blocks_.pop_back();
    }
    const std::size_t count = std::size_t{block_.x} * block_.y * block_.z;
    block->threads.resize(count);
    block->shared.clear();
    block->shared_bytes = shared_bytes_;
    block->dynamic_bytes = shared_bytes_;
    block->epoch = 1;
    block->stalled = 0;
    block->exchange.resize((count + kWarp - 1) / kWarp * 2 * kWarp * kExchangeBytes);
    for (std::size_t t = 0; t < count; ++t) {
      Fiber& fiber = block->threads[t];
      fiber.status = Status::kFresh;
      const auto n = static_cast<unsigned>(t);
      fiber.self = {.thread = {n % block_.x, n / block_.x % block_.y, n / block_.x / block_.y},
                    .block = {static_cast<unsigned>(number % grid_.x),
                              static_cast<unsigned>(number / grid_.x % grid_.y),
                              static_cast<unsigned>(number / grid_.x / grid_.y)},
                    .block_size = block_,
                    .grid_size = grid_,
                    .number = static_cast<std::int32_t>(t),
                    .lane = static_cast<std::int32_t>(t % kWarp),
                    .warp = static_cast<std::int32_t>(t / kWarp),
                    .state = block.get()};
    }
    return block;
  }

  // Shuffled blocks of a cooperative launch fall behind one another, by more than what they do
  // between two flags.
  bool loses_turn(BlockState& block) {
    constexpr int kTurns = 12;
    if (!cooperative_ || seed_ <= 1) return false;
    if (block.stalled == 0 && random_() % kTurns == 0) block.stalled = kTurns + 1;
    if (block.stalled == 0) return false;
    return --block.stalled > 0;
  }

  void order_of(std::size_t count) {
    order_.resize(count);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    if (seed_ == 1) std::ranges::reverse(order_);
    if (seed_ > 1) std::ranges::shuffle(order_, random_);
  }

  // One turn for every thread that may run; true where one did something else than wait for a flag.
  bool round(BlockState& block) {
    bool progress = false;
    order_of(block.threads.size());
    for (const std::size_t t : order_) {
      Fiber& fiber = block.threads[t];
      if (fiber.status != Status::kFresh && fiber.status != Status::kReady &&
          fiber.status != Status::kSpinning)
        continue;
      resume(fiber);
      if (failed_) return true;
      progress = progress || fiber.status != Status::kSpinning;
    }
    return release_barriers(block) || progress;
  }

  void resume(Fiber& fiber) {
    if (fiber.status == Status::kFresh) {
      if (!fiber.stack) fiber.stack = take_stack();
      fiber.context = make_fcontext(fiber.stack->top(), kStackBytes, &Engine::entry);
    }
    fiber.status = Status::kReady;
    current_fiber = &fiber;
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, fiber.stack->bottom(), kStackBytes);
#endif
    const transfer_t back = jump_fcontext(fiber.context, &fiber);
    fiber.context = back.fctx;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
    current_fiber = nullptr;
    if (fiber.status != Status::kDone) return;
    if (failed_) fiber.stack->clean();
    spare_stacks().push_back(std::move(fiber.stack));
  }

  bool release_barriers(BlockState& block) {
    std::size_t waiting = 0, done = 0;
    for (const Fiber& fiber : block.threads) {
      waiting += fiber.status == Status::kBlockBarrier;
      done += fiber.status == Status::kDone;
    }
    if (waiting == block.threads.size()) {
      ++block.epoch;
      for (Fiber& fiber : block.threads) fiber.status = Status::kReady;
      return true;
    }
    if (waiting > 0 && done > 0 && waiting + done == block.threads.size()) {
      fail(std::to_string(done) + " threads of a block ended while " + std::to_string(waiting) +
           " wait at a block barrier");
      return true;
    }
    bool released = false;
    for (std::size_t first = 0; first < block.threads.size(); first += kWarp) {
      const auto begin = block.threads.begin() + static_cast<std::ptrdiff_t>(first);
      const auto end = block.threads.begin() +
                       static_cast<std::ptrdiff_t>(std::min(first + kWarp, block.threads.size()));
      if (!std::all_of(begin, end, [](const Fiber& f) { return f.status == Status::kWarpBarrier; }))
        continue;
      for (auto it = begin; it != end; ++it) {
        it->status = Status::kReady;
        ++it->self.warp_epoch;
      }
      released = true;
    }
    return released;
  }

  static bool any_spinning(const std::deque<std::unique_ptr<BlockState>>& active) {
    return std::ranges::any_of(active, [](const auto& block) {
      return std::ranges::any_of(block->threads,
                                 [](const Fiber& f) { return f.status == Status::kSpinning; });
    });
  }

  static std::string stuck(const std::deque<std::unique_ptr<BlockState>>& active) {
    std::size_t block_barrier = 0, warp_barrier = 0;
    for (const auto& block : active)
      for (const Fiber& fiber : block->threads) {
        block_barrier += fiber.status == Status::kBlockBarrier;
        warp_barrier += fiber.status == Status::kWarpBarrier;
      }
    return "threads of a block or warp meet different barriers: " + std::to_string(block_barrier) +
           " wait for their block, " + std::to_string(warp_barrier) + " for their warp";
  }

  static std::vector<std::unique_ptr<Stack>>& spare_stacks() {
    static thread_local std::vector<std::unique_ptr<Stack>> stacks;
    return stacks;
  }
  static std::unique_ptr<Stack> take_stack() {
    auto& stacks = spare_stacks();
    if (stacks.empty()) return std::make_unique<Stack>();
    auto stack = std::move(stacks.back());
    stacks.pop_back();
    return stack;
  }

  const char* kernel_;
  Index3 grid_, block_;
  std::size_t shared_bytes_;
  bool cooperative_;
  ThreadFunction function_;
  const void* closure_;
  std::uint64_t seed_;
  std::mt19937_64 random_;
  std::vector<std::size_t> order_;
  std::vector<std::unique_ptr<BlockState>> spare_blocks_;
  fcontext_t main_ = nullptr;
  [[maybe_unused]] const void* main_bottom_ = nullptr;  // AddressSanitizer's
  [[maybe_unused]] std::size_t main_size_ = 0;
  bool failed_ = false;
  std::string sentence_;
};

void wait_as(Status status) {
  Fiber& fiber = *current_fiber;
  fiber.status = status;
  Engine::leave(fiber);
}

bool ordered(const Self& me, std::int32_t other, std::int32_t other_warp_epoch) {
  return other == me.number || (other / kWarp == me.warp && other_warp_epoch < me.warp_epoch);
}

std::string thread_name(const Self& me) {
  return "thread " + std::to_string(me.number) + " of block " + std::to_string(me.block.x) + "," +
         std::to_string(me.block.y) + "," + std::to_string(me.block.z);
}

}  // namespace

void set_schedule(std::uint64_t seed) noexcept { schedule_seed = seed; }
const Card& card() noexcept { return current_card; }
void set_card(const Card& card) noexcept { current_card = card; }
const std::string& last_error() { return error_sentence; }
Self& self() noexcept { return current_fiber->self; }
void block_barrier() { wait_as(Status::kBlockBarrier); }
void warp_barrier() { wait_as(Status::kWarpBarrier); }
void spin() { wait_as(Status::kSpinning); }

int warp_lanes() noexcept {
  const Self& me = self();
  const auto count = static_cast<int>(me.state->threads.size());
  return std::min(kWarp, count - me.warp * kWarp);
}

const std::byte* warp_exchange(const void* value, std::size_t bytes) {
  Self& me = self();
  std::byte* half =
      me.state->exchange.data() +
      (static_cast<std::size_t>(me.warp) * 2 + (me.exchanges++ & 1)) * kWarp * kExchangeBytes;
  std::memcpy(half + static_cast<std::size_t>(me.lane) * kExchangeBytes, value, bytes);
  warp_barrier();
  return half;
}

void fail_launch(std::string sentence) {
  {
    // Nothing is left behind on a stack that nobody returns on.
    std::string taken = std::move(sentence);
    taken += " (" + thread_name(self()) + ")";
    current_engine->fail(taken);
  }
  for (;;) wait_as(Status::kDone);  // the scheduler does not come back
}

SharedMemory shared_memory(const void* site, const char* name, std::size_t count,
                           std::size_t element_bytes) {
  BlockState& block = *self().state;
  auto [it, fresh] = block.shared.try_emplace(site);
  Allocation& allocation = it->second;
  if (fresh) {
    block.shared_bytes += count * element_bytes;
    if (block.shared_bytes > kSharedLimit)
      fail_launch("shared memory " + std::string(name) + " makes " +
                  std::to_string(block.shared_bytes) + " bytes a block, at most " +
                  std::to_string(kSharedLimit) + " are there");
    allocation.data.assign(count * element_bytes, std::byte{0xff});
    allocation.shadow.assign(count, {});
  }
  return {allocation.data.data(), allocation.shadow.data()};
}

SharedMemory dynamic_shared_memory(std::size_t element_bytes, std::size_t* count) {
  BlockState& block = *self().state;
  static const char site = 0;
  *count = block.dynamic_bytes / element_bytes;
  auto [it, fresh] = block.shared.try_emplace(&site);
  if (fresh) {
    it->second.data.assign(block.dynamic_bytes, std::byte{0xff});
    it->second.shadow.assign(*count, {});
  }
  return {it->second.data.data(), it->second.shadow.data()};
}

SharedMemory shared_part(const void* site, const char* name, std::size_t first_byte,
                         std::size_t count, std::size_t element_bytes) {
  BlockState& block = *self().state;
  auto [it, fresh] = block.shared.try_emplace(site);
  Allocation& allocation = it->second;
  if (fresh) {
    if (first_byte % 16 != 0 || first_byte + count * element_bytes > block.dynamic_bytes)
      fail_launch("shared memory " + std::string(name) + ": " + std::to_string(count) +
                  " elements from byte " + std::to_string(first_byte) +
                  " do not lie in the launch's " + std::to_string(block.dynamic_bytes) + " bytes");
    allocation.data.assign(count * element_bytes, std::byte{0xff});
    allocation.shadow.assign(count, {});
  }
  return {allocation.data.data(), allocation.shadow.data()};
}

void note_read(Shadow& shadow, const char* name, std::int64_t index) {
  const Self& me = self();
  const std::uint32_t epoch = me.state->epoch;
  if (shadow.write_epoch == epoch && !ordered(me, shadow.writer, shadow.writer_warp_epoch))
    fail_launch("race: element " + std::to_string(index) + " of " + name + " is read, thread " +
                std::to_string(shadow.writer) + " wrote it since the last barrier");
  if (shadow.read_epoch != epoch) {
    shadow.read_epoch = epoch;
    shadow.reader = me.number;
    shadow.reader_warp = me.warp;
    shadow.reader_warp_epoch = me.warp_epoch;
    return;
  }
  if (shadow.reader != me.number) shadow.reader = -2;  // several
  if (shadow.reader_warp != me.warp) shadow.reader_warp = -2;
  shadow.reader_warp_epoch = std::max(shadow.reader_warp_epoch, me.warp_epoch);
}

void note_write(Shadow& shadow, const char* name, std::int64_t index) {
  const Self& me = self();
  const std::uint32_t epoch = me.state->epoch;
  if (shadow.write_epoch == epoch && !ordered(me, shadow.writer, shadow.writer_warp_epoch))
    fail_launch("race: element " + std::to_string(index) + " of " + name + " is written, thread " +
                std::to_string(shadow.writer) + " wrote it since the last barrier");
  const bool read_by_others =
      shadow.read_epoch == epoch && shadow.reader != me.number &&
      !(shadow.reader_warp == me.warp && shadow.reader_warp_epoch < me.warp_epoch);
  if (read_by_others)
    fail_launch("race: element " + std::to_string(index) + " of " + name +
                " is written, another thread read it since the last barrier");
  shadow.writer = me.number;
  shadow.writer_warp_epoch = me.warp_epoch;
  shadow.write_epoch = epoch;
}

int run(const char* kernel, Index3 grid, Index3 block, std::size_t shared_bytes, bool cooperative,
        ThreadFunction function, const void* closure) {
  const auto refuse = [&](const std::string& sentence) {
    error_sentence = std::string(kernel) + ": " + sentence;
    return 1;
  };
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads < 1 || threads > 1024)
    return refuse("a block has 1 to 1024 threads, " + std::to_string(threads) + " were asked for");
  if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535)
    return refuse("a grid has 1 to 2^31 - 1, 65535, 65535 blocks, " + std::to_string(grid.x) +
                  ", " + std::to_string(grid.y) + ", " + std::to_string(grid.z) +
                  " were asked for");
  if (shared_bytes > kSharedLimit)
    return refuse(std::to_string(shared_bytes) + " bytes of shared memory were asked for");
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  if (cooperative && blocks > static_cast<std::uint64_t>(current_card.multiprocessors))
    return refuse("a cooperative launch of " + std::to_string(blocks) + " blocks on " +
                  std::to_string(current_card.multiprocessors) + " multiprocessors");
  const GlobalAccess access;
  Engine engine(kernel, grid, block, shared_bytes, cooperative, function, closure);
  Engine* outer = current_engine;
  current_engine = &engine;
  engine.run();
  current_engine = outer;
  if (!engine.failed()) return 0;
  error_sentence = engine.sentence();
  return 1;
}

}  // namespace rill::device_model
