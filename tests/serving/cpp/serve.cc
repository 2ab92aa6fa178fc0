// Runs signatures of SavedModels through tensorflow::LoadSavedModel, the loader that
// TensorFlow Serving is built on, in a process without Python.
//
//   serve [--warmup M] [--repeat N] [--threads T] FOLDER (EXPORT SIGNATURE REQUEST)...
//
// Each export is loaded once. Then M + N rounds follow, each with all calls in a random
// order, so that a busy machine slows all of them alike. The answer to the first call is
// written to FOLDER/0, to the second to FOLDER/1, and so on; FOLDER/maps says which files
// the process had mapped.
//
// Files hold texts, each as its length (64 bits, little-endian) and its bytes. A request
// is a name, a serialised tensorflow.TensorProto, a name, … An answer is the error (empty
// when there is none), the signature's method name, the nanoseconds of Session::Run in
// the N rounds (64 bits each), then names and tensors like a request.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"

namespace {

using Named = std::vector<std::pair<std::string, tensorflow::Tensor>>;

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string Bytes(std::uint64_t number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

std::string Framed(const std::string& text) { return Bytes(text.size()) + text; }

bool Parse(const std::string& bytes, Named* inputs) {
  std::vector<std::string> texts;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t size;
    if (bytes.size() - at < sizeof size) return false;
    std::copy_n(&bytes[at], sizeof size, reinterpret_cast<char*>(&size));
    at += sizeof size;
    if (bytes.size() - at < size) return false;
    texts.push_back(bytes.substr(at, size));
    at += size;
  }
  if (texts.size() % 2) return false;
  for (std::size_t i = 0; i < texts.size(); i += 2) {
    tensorflow::TensorProto proto;
    tensorflow::Tensor tensor;
    if (!proto.ParseFromString(texts[i + 1]) || !tensor.FromProto(proto)) return false;
    inputs->emplace_back(texts[i], tensor);
  }
  return true;
}

class Call {
 public:
  Call(const tensorflow::SavedModelBundleLite& model, const std::string& signature,
       const std::string& request)
      : session_(model.GetSession()) {
    status_ = Prepare(model, signature, request);
  }

  void Run(bool timed) {
    if (!status_.ok()) return;
    outputs_.clear();
    const auto start = std::chrono::steady_clock::now();
    status_ = session_->Run(inputs_, fetches_, {}, &outputs_);
    const auto taken = std::chrono::steady_clock::now() - start;
    if (timed)
      nanoseconds_ += Bytes(
          std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count());
  }

  void Write(const std::string& path) const {
    std::ofstream file(path, std::ios::binary);
    file << Framed(status_.ok() ? "" : status_.ToString()) << Framed(method_)
         << Framed(nanoseconds_);
    for (std::size_t i = 0; status_.ok() && i < outputs_.size(); ++i) {
      tensorflow::TensorProto proto;
      outputs_[i].AsProtoField(&proto);
      file << Framed(names_[i]) << Framed(proto.SerializeAsString());
    }
  }

 private:
  // As TensorFlow Serving, refuses inputs that the signature does not have, and fewer.
  absl::Status Prepare(const tensorflow::SavedModelBundleLite& model,
                       const std::string& signature, const std::string& request) {
    const auto found = model.GetSignatures().find(signature);
    if (found == model.GetSignatures().end())
      return absl::NotFoundError("no signature " + signature);
    method_ = found->second.method_name();
    Named given;
    if (!Parse(Read(request), &given))
      return absl::InvalidArgumentError("not a request: " + request);
    for (const auto& [name, tensor] : given) {
      const auto input = found->second.inputs().find(name);
      if (input == found->second.inputs().end())
        return absl::InvalidArgumentError("no input " + name);
      inputs_.emplace_back(input->second.name(), tensor);
    }
    for (const auto& [name, input] : found->second.inputs())
      if (std::none_of(given.begin(), given.end(),
                       [&](const auto& one) { return one.first == name; }))
        return absl::InvalidArgumentError("missing input " + name);
    for (const auto& [name, output] : found->second.outputs()) {
      names_.push_back(name);
      fetches_.push_back(output.name());
    }
    return absl::OkStatus();
  }

  tensorflow::Session* session_;
  absl::Status status_;
  std::string method_, nanoseconds_;
  Named inputs_;
  std::vector<std::string> names_, fetches_;
  std::vector<tensorflow::Tensor> outputs_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::map<std::string, int> options{{"--warmup", 0}, {"--repeat", 1}, {"--threads", 0}};
  std::size_t at = 0;
  for (; at + 1 < words.size() && options.count(words[at]); at += 2)
    options[words[at]] = std::stoi(words[at + 1]);
  if (words.size() < at + 4 || (words.size() - at) % 3 != 1) {
    std::cerr << "serve [--warmup M] [--repeat N] [--threads T] FOLDER "
                 "(EXPORT SIGNATURE REQUEST)...\n";
    return 2;
  }
  const std::string folder = words[at++];
  tensorflow::SessionOptions session;
  session.config.set_intra_op_parallelism_threads(options["--threads"]);
  session.config.set_inter_op_parallelism_threads(options["--threads"]);

  std::map<std::string, tensorflow::SavedModelBundleLite> models;
  std::vector<Call> calls;
  for (; at < words.size(); at += 3) {
    const auto [model, fresh] = models.try_emplace(words[at]);
    if (fresh) {
      const auto status = tensorflow::LoadSavedModel(session, {}, words[at], {"serve"},
                                                     &model->second);
      if (!status.ok()) {
        std::cerr << status.ToString() << "\n";
        return 1;
      }
    }
    calls.emplace_back(model->second, words[at + 1], words[at + 2]);
  }

  std::vector<std::size_t> order(calls.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::mt19937 random(0);
  const int rounds = options["--warmup"] + options["--repeat"];
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) calls[i].Run(round >= options["--warmup"]);
  }
  for (std::size_t i = 0; i < calls.size(); ++i)
    calls[i].Write(folder + "/" + std::to_string(i));
  std::ofstream(folder + "/maps") << std::ifstream("/proc/self/maps").rdbuf();
}
