#include "server/metric_factory.h"

#include <cmath>

namespace drover {

DualCounter MetricFactory::AddCounter(const std::string& name,
                                      const std::string& help,
                                      const prometheus::Labels& labels) {
  const auto add = [&](const std::string& spelling) -> prometheus::Counter& {
    return prometheus::BuildCounter()
        .Name(spelling)
        .Help(help)
        .Register(registry_)
        .Add(labels);
  };
  return DualCounter(add(name), add(name + "_total"));
}

prometheus::Gauge& MetricFactory::AddGauge(const std::string& name,
                                           const std::string& help,
                                           const prometheus::Labels& labels) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(
      labels);
}

prometheus::Histogram& MetricFactory::AddHistogram(
    const std::string& name, const std::string& help,
    const std::vector<double>& bounds, const prometheus::Labels& labels) {
  return prometheus::BuildHistogram()
      .Name(name)
      .Help(help)
      .Register(registry_)
      .Add(labels, bounds);
}

std::vector<double> DurationBounds() {
  std::vector<double> bounds;
  for (int k = 0; k < 35; ++k) bounds.push_back(0.00015 * std::pow(1.5, k));
  return bounds;
}

std::vector<double> LinearBounds(double max) {
  constexpr int kSteps = 64;
  std::vector<double> bounds;
  for (int k = 1; k <= kSteps; ++k) bounds.push_back(max * k / kSteps);
  return bounds;
}

std::vector<double> UnitBounds(int max) {
  std::vector<double> bounds;
  for (int k = 1; k <= max; ++k) bounds.push_back(k);
  return bounds;
}

std::vector<double> PowerOfTwoBounds(int first, int last) {
  std::vector<double> bounds;
  for (int k = first; k <= last; ++k) bounds.push_back(std::ldexp(1.0, k));
  return bounds;
}

}  // namespace drover
