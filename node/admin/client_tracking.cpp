#include "node/admin/client_tracking.h"

#include <string>
#include <vector>

#include "node/admin/replies.h"

namespace atl::admin {

namespace {

using command::TrackingMode;

struct TrackingOptions {
  TrackingMode mode;
  std::vector<std::string_view> prefixes;  // as given, for what is wrong with them
};

bool refuse(Context& ctx, std::string_view error) {
  ctx.out.error(error);
  return false;
}

bool read_redirect(Context& ctx, std::string_view text, TrackingMode& mode) {
  if (mode.redirect != 0) {
    return refuse(ctx, "ERR A client can only redirect to a single other client");
  }
  int64_t id = 0;
  if (!read_number(ctx, text, command::kNotAnInteger, id)) return false;
  mode.redirect = static_cast<uint64_t>(id);
  if (ctx.node.client_exists(mode.redirect)) return true;
  return refuse(ctx, "ERR The client ID you want redirect to does not exist");
}

bool read_options(Context& ctx, TrackingOptions& options) {
  TrackingMode& mode = options.mode;
  for (size_t i = 3; i < ctx.args.size(); ++i) {
    const std::string_view word = ctx.args[i];
    const bool more = i + 1 < ctx.args.size();
    if (is_word(word, "redirect") && more) {
      if (!read_redirect(ctx, ctx.args[++i], mode)) return false;
    } else if (is_word(word, "bcast")) {
      mode.broadcasts = true;
    } else if (is_word(word, "optin")) {
      mode.opt_in = true;
    } else if (is_word(word, "optout")) {
      mode.opt_out = true;
    } else if (is_word(word, "noloop")) {
      mode.no_loop = true;
    } else if (is_word(word, "prefix") && more) {
      options.prefixes.push_back(ctx.args[++i]);
    } else {
      return refuse(ctx, kSyntaxError);
    }
  }
  return true;
}

bool overlap(std::string_view a, std::string_view b) {
  return a.starts_with(b) || b.starts_with(a);
}

bool refuse_overlap(Context& ctx, std::string_view prefix, std::string_view kind,
                    std::string_view other) {
  std::string error = "ERR Prefix '";
  error.append(prefix).append("' overlaps with ").append(kind).append(" prefix '").append(other);
  error.append("'. Prefixes for a single client must not overlap.");
  return refuse(ctx, error);
}

// Whoever has a key told twice would not know it.
bool prefixes_are_apart(Context& ctx, const std::vector<std::string_view>& prefixes,
                        const TrackingMode* now) {
  for (size_t i = 0; i < prefixes.size(); ++i) {
    if (now != nullptr) {
      for (const std::string& existing : now->prefixes) {
        if (overlap(existing, prefixes[i])) {
          return refuse_overlap(ctx, prefixes[i], "an existing", existing);
        }
      }
    }
    for (size_t j = i + 1; j < prefixes.size(); ++j) {
      if (overlap(prefixes[i], prefixes[j])) {
        return refuse_overlap(ctx, prefixes[i], "another provided", prefixes[j]);
      }
    }
  }
  return true;
}

// In Redis' order, which tells which of several errors is answered.
bool options_fit(Context& ctx, const TrackingOptions& options, const TrackingMode* now) {
  const TrackingMode& mode = options.mode;
  if (!mode.broadcasts && !options.prefixes.empty()) {
    return refuse(ctx, "ERR PREFIX option requires BCAST mode to be enabled");
  }
  if (now != nullptr && now->broadcasts != mode.broadcasts) {
    return refuse(ctx,
                  "ERR You can't switch BCAST mode on/off before disabling tracking for this "
                  "client, and then re-enabling it with a different mode.");
  }
  if (mode.broadcasts && (mode.opt_in || mode.opt_out)) {
    return refuse(ctx, "ERR OPTIN and OPTOUT are not compatible with BCAST");
  }
  if (mode.opt_in && mode.opt_out) {
    return refuse(ctx, "ERR You can't specify both OPTIN mode and OPTOUT mode");
  }
  if (now != nullptr && ((mode.opt_in && now->opt_out) || (mode.opt_out && now->opt_in))) {
    return refuse(ctx,
                  "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this "
                  "client, and then re-enabling it with a different mode.");
  }
  return !mode.broadcasts || prefixes_are_apart(ctx, options.prefixes, now);
}

void switch_on(Context& ctx, TrackingOptions& options) {
  TrackingMode& mode = options.mode;
  if (mode.broadcasts) mode.prefixes.insert(options.prefixes.begin(), options.prefixes.end());
  if (mode.broadcasts && mode.prefixes.empty()) mode.prefixes.insert("");  // every key
  ctx.node.track(ctx, std::move(mode));
  ctx.out.ok();
}

}  // namespace

void client_tracking(Context& ctx) {
  TrackingOptions options;
  if (!read_options(ctx, options)) return;
  if (is_word(ctx.args[2], "on")) {
    if (options_fit(ctx, options, ctx.node.tracking(ctx))) switch_on(ctx, options);
  } else if (is_word(ctx.args[2], "off")) {
    ctx.node.stop_tracking(ctx);
    ctx.out.ok();
  } else {
    ctx.out.error(kSyntaxError);
  }
}

void client_caching(Context& ctx) {
  const TrackingMode* mode = ctx.node.tracking(ctx);
  if (mode == nullptr) {
    return ctx.out.error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
        "OPTOUT mode enabled");
  }
  const bool yes = is_word(ctx.args[2], "yes");
  if (!yes && !is_word(ctx.args[2], "no")) return ctx.out.error(kSyntaxError);
  if (yes && !mode->opt_in) {
    return ctx.out.error(
        "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
  }
  if (!yes && !mode->opt_out) {
    return ctx.out.error(
        "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
  }
  ctx.node.set_caching(ctx);
  ctx.out.ok();
}

void client_getredir(Context& ctx) {
  const TrackingMode* mode = ctx.node.tracking(ctx);
  ctx.out.integer(mode == nullptr ? -1 : static_cast<int64_t>(mode->redirect));
}

void client_trackinginfo(Context& ctx) {
  const TrackingMode* mode = ctx.node.tracking(ctx);
  std::vector<std::string_view> flags = {mode == nullptr ? "off" : "on"};
  const auto flag = [&](bool set, std::string_view name) {
    if (set) flags.push_back(name);
  };
  if (mode != nullptr) {
    flag(mode->broadcasts, "bcast");
    flag(mode->opt_in, "optin");
    flag(mode->opt_in && mode->caching, "caching-yes");
    flag(mode->opt_out, "optout");
    flag(mode->opt_out && mode->caching, "caching-no");
    flag(mode->no_loop, "noloop");
    flag(mode->redirect_broken, "broken_redirect");
  }
  ctx.out.map(3);
  ctx.out.bulk("flags");
  ctx.out.set(static_cast<int64_t>(flags.size()));
  for (const std::string_view each : flags) ctx.out.bulk(each);
  ctx.out.bulk("redirect");
  client_getredir(ctx);
  ctx.out.bulk("prefixes");
  ctx.out.array(mode == nullptr ? 0 : static_cast<int64_t>(mode->prefixes.size()));
  if (mode == nullptr) return;
  for (const std::string& prefix : mode->prefixes) ctx.out.bulk(prefix);
}

}  // namespace atl::admin
