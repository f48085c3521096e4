#pragma once

#include <string>
#include <vector>

#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/labels.h"
#include "prometheus/registry.h"

namespace drover {

// A counter under two names: TGIS's dashboards ask for `name`, scrapers that
// follow Prometheus's conventions for `name_total`. Thread-safe.
class DualCounter {
 public:
  DualCounter(prometheus::Counter& plain, prometheus::Counter& total)
      : plain_(&plain), total_(&total) {}

  void Increment(double count = 1) {
    plain_->Increment(count);
    total_->Increment(count);
  }

 private:
  prometheus::Counter* plain_;  // both owned by the registry
  prometheus::Counter* total_;
};

// Adds metrics to a registry, which owns them and outlives their users. The
// same name with other labels joins the family.
class MetricFactory {
 public:
  explicit MetricFactory(prometheus::Registry& registry)
      : registry_(registry) {}

  DualCounter AddCounter(const std::string& name, const std::string& help,
                         const prometheus::Labels& labels = {});
  prometheus::Gauge& AddGauge(const std::string& name, const std::string& help,
                              const prometheus::Labels& labels = {});
  prometheus::Histogram& AddHistogram(const std::string& name,
                                      const std::string& help,
                                      const std::vector<double>& bounds,
                                      const prometheus::Labels& labels = {});

 private:
  prometheus::Registry& registry_;
};

// ---- Bucket bounds ----

// 35 bounds in seconds: 0.00015 · 1.5^k, up to about 145.6.
std::vector<double> DurationBounds();
// 64 equal steps that end at `max`.
std::vector<double> LinearBounds(double max);
// 1, 2, 3 … max.
std::vector<double> UnitBounds(int max);
// 2^first … 2^last.
std::vector<double> PowerOfTwoBounds(int first, int last);

}  // namespace drover
