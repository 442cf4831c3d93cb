// Clients over TLS: what they share with clients without it, and what can go wrong only here.
#include "tests/unit/net/tls_harness.h"

namespace atl::net {
namespace {

// Aim: all versions that are on by default carry a pipeline both ways.
TEST_F(TlsTest, EchoesPipelinedLines) {
  start_tls();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClientOptions how = trusting();
    how.version = version;
    TlsClient client(tls_port_, how);
    ASSERT_TRUE(client.shake_hands());
    EXPECT_EQ(SSL_version(client.ssl()), version);
    std::string sent;
    for (int i = 0; i < 20000; ++i) {
      sent += "line " + std::to_string(i) + "\n";
    }
    client.send(sent);
    EXPECT_EQ(client.receive(sent.size()), sent);
  }
}

// Aim: a handshake and a record may be cut anywhere.
TEST_F(TlsTest, TakesHandshakeAndRequestsInSingleBytes) {
  start_tls();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClientOptions how = trusting();
    how.version = version;
    TlsClient client(tls_port_, how);
    ASSERT_TRUE(client.shake_hands(1));
    client.send("hello\nworld\n", 1);
    EXPECT_EQ(client.receive(12), "hello\nworld\n");
  }
}

// Aim: a client that goes silent within the handshake is dropped in bounded time, others do not
// notice, and one that is done is not.
TEST_F(TlsTest, DropsAHandshakeThatStalls) {
  ReactorSettings settings;
  settings.handshake_timeout = 1s;
  start_tls(settings);
  TlsClient good(tls_port_, trusting());
  ASSERT_TRUE(good.shake_hands());
  TlsClient stalled(tls_port_);
  stalled.raw.send(stalled.handshake_bytes().substr(0, 40));
  Client silent(tls_port_);
  EXPECT_TRUE(good.echoes("meanwhile"));
  EXPECT_TRUE(eventually([&] {
    return closes() == std::vector{CloseReason::kHandshake, CloseReason::kHandshake};
  }));
  EXPECT_TRUE(stalled.raw.ended());
  EXPECT_TRUE(silent.ended());
  EXPECT_TRUE(good.echoes("still"));
  ASSERT_FALSE(log().empty());
  EXPECT_NE(log()[0].find("no TLS handshake in time (addr=127.0.0.1:"), std::string::npos);
}

// Aim: a value of 10 MB comes and goes whole, and its room is given back.
TEST_F(TlsTest, CarriesLargeValues) {
  start_tls();
  TlsClient client(tls_port_, trusting());
  ASSERT_TRUE(client.shake_hands());
  const std::string value = "long" + std::string(LineHandler::kLong - 5, 'v') + "\n";
  client.send(value);
  EXPECT_TRUE(client.receive(value.size()) == value);
  EXPECT_TRUE(eventually([&] {
    std::size_t memory = 0;
    on_connection([&](Connection& c) { memory = c.stats().total_memory; });
    return memory < 100 * 1024;
  }));
}

// Aim: what OpenSSL has already taken from the kernel is served though no event comes for it. Many
// small records wait at once, more than a read has room for.
TEST_F(TlsTest, ForgetsNothingThatOpenSslHolds) {
  start_tls();
  TlsClient client(tls_port_, trusting());
  ASSERT_TRUE(client.shake_hands());
  ASSERT_TRUE(client.echoes("first"));
  std::string burst;
  std::string wanted;
  for (int i = 0; i < 4000; ++i) {
    const std::string line = "line " + std::to_string(i) + std::string(40, '.') + "\n";
    burst += client.sealed(line);
    wanted += line;
  }
  const auto go_on = freeze();
  std::thread writer([&] { client.raw.send(burst); });
  std::this_thread::sleep_for(50ms);
  go_on->set_value();
  EXPECT_EQ(client.receive(wanted.size()), wanted);
  writer.join();
}

// Aim: so is the rest behind a request that suspends, once it resumes.
TEST_F(TlsTest, SuspendStopsInputUntilResume) {
  start_tls();
  TlsClient client(tls_port_, trusting());
  ASSERT_TRUE(client.shake_hands());
  std::string records;
  for (const char* line : {"one\n", "suspend\n", "two\n"}) {
    records += client.sealed(line);
  }
  client.raw.send(records);
  EXPECT_EQ(client.receive(4), "one\n");
  client.send("three\n");
  EXPECT_TRUE(client.raw.silent());
  on_connection([](Connection& c) {
    c.output().append("answer\n");
    c.resume();
  });
  EXPECT_EQ(client.receive(17), "answer\ntwo\nthree\n");
}

// Aim: where the client does not read, replies wait unsealed, in order, and come when it does.
TEST_F(TlsTest, SlowReaderGetsEverythingInOrder) {
  start_tls();
  TlsClientOptions how = trusting();
  how.receive_buffer = 4096;
  TlsClient client(tls_port_, how);
  ASSERT_TRUE(client.shake_hands());
  std::string request;
  std::string wanted;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "number " + std::to_string(i) + "\n";
    request += "big 500000\n" + name;
    wanted += std::string(500000, 'b') + name;
  }
  client.send(request);
  EXPECT_TRUE(eventually([&] {
    std::size_t pending = 0;
    on_connection([&](Connection& c) { pending = c.stats().output_memory; });
    return pending > 10'000'000;
  }));
  EXPECT_TRUE(client.receive(wanted.size()) == wanted);
  EXPECT_TRUE(client.echoes("after"));
}

// Aim: a record of which the kernel takes a little at a time leaves whole.
TEST_F(TlsTest, ARecordMayLeaveInPieces) {
  start_tls();
  TlsClientOptions how = trusting();
  how.receive_buffer = 2048;
  TlsClient client(tls_port_, how);
  ASSERT_TRUE(client.shake_hands());
  ASSERT_TRUE(client.echoes("first"));
  on_connection([](Connection& c) {
    const int least = 1;
    ::setsockopt(c.fd(), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
  });
  client.send("big 60000\nlast\n");
  EXPECT_EQ(client.receive(60005), std::string(60000, 'b') + "last\n");
}

TEST_F(TlsTest, SlowReaderHitsTheHardLimit) {
  ReactorSettings settings;
  settings.output_limits.hard_bytes = 3'000'000;
  start_tls(settings);
  TlsClientOptions how = trusting();
  how.receive_buffer = 4096;
  TlsClient client(tls_port_, how);
  ASSERT_TRUE(client.shake_hands());
  for (int i = 0; i < 64; ++i) {
    client.send("big 500000\n");
  }
  EXPECT_TRUE(closed_with(CloseReason::kOutputLimit));
}

// Aim: held replies are not sealed, and leave in order when they are released.
TEST_F(TlsTest, HoldKeepsOrder) {
  start_tls();
  TlsClient client(tls_port_, trusting());
  ASSERT_TRUE(client.shake_hands());
  ASSERT_TRUE(client.echoes("before"));
  client.send("first\nhold\nsecond\n");
  EXPECT_TRUE(client.raw.silent());
  on_connection([&](Connection& c) { c.release_output(c.output_position() - 7); });
  EXPECT_EQ(client.receive(11), "first\nhold\n");
  EXPECT_TRUE(client.raw.silent());
  on_connection([&](Connection& c) { c.release_output(); });
  EXPECT_EQ(client.receive(7), "second\n");
}

// Aim: the end is said in TLS, after the last reply, whoever ends it.
TEST_F(TlsTest, SaysFarewell) {
  start_tls();
  TlsClient client(tls_port_, trusting());
  ASSERT_TRUE(client.shake_hands());
  client.send("big 3000000\nbye\n");
  EXPECT_EQ(client.receive(3'000'004).size(), 3'000'004u);
  EXPECT_TRUE(client.told_farewell());
  TlsClient killed(tls_port_, trusting());
  ASSERT_TRUE(killed.shake_hands());
  ASSERT_TRUE(killed.echoes("alive"));
  on_connection([](Connection& c) { c.close_now(); });
  EXPECT_TRUE(killed.told_farewell());
}

// Aim: a client's farewell is heard though its socket stays open, also when it comes together with
// its last requests; and so is a socket that ends without one.
TEST_F(TlsTest, HearsFarewell) {
  start_tls();
  TlsClient polite(tls_port_, trusting());
  ASSERT_TRUE(polite.shake_hands());
  const auto go_on = freeze();
  polite.send("last\n");
  polite.say_farewell();
  go_on->set_value();
  EXPECT_EQ(polite.receive(5), "last\n");
  EXPECT_TRUE(closed_with(CloseReason::kPeerClosed));
  EXPECT_TRUE(polite.told_farewell());
  TlsClient abrupt(tls_port_, trusting());
  ASSERT_TRUE(abrupt.shake_hands());
  abrupt.send("a\nb\n");
  abrupt.raw.half_close();
  EXPECT_EQ(abrupt.receive(4), "a\nb\n");
  EXPECT_TRUE(abrupt.told_farewell());
}

TEST_F(TlsTest, ClientsThatVanishHurtNobody) {
  start_tls();
  for (int i = 0; i < 40; ++i) {
    TlsClient client(tls_port_);
    switch (i % 4) {
      case 0:
        client.raw.send(client.handshake_bytes());
        client.raw.reset();
        break;
      case 1:
        client.raw.send("\x16\x03\x01 half a greeting");
        client.raw.close();
        break;
      case 2:
        ASSERT_TRUE(client.shake_hands());
        client.send("big 5000000\nbig 5000000\n");
        client.raw.reset();
        break;
      default:
        ASSERT_TRUE(client.shake_hands());
        client.raw.send("no record at all, and long enough to see it");
    }
  }
  EXPECT_TRUE(eventually([&] { return closes().size() == 40; }));
  EXPECT_EQ(gate_.open(), 0);
  TlsClient client(tls_port_, trusting());
  ASSERT_TRUE(client.shake_hands());
  EXPECT_TRUE(client.echoes("alive"));
}

// Aim: who speaks the wrong language at a port is closed, and many of them do not fill the log.
TEST_F(TlsTest, ClosesWhoMistakesThePort) {
  start_tls();
  for (int i = 0; i < 20; ++i) {
    Client plain(tls_port_);
    plain.send("PING\r\n");
    EXPECT_TRUE(eventually([&] { return plain.some().empty(); }));
  }
  ASSERT_FALSE(log().empty());
  EXPECT_NE(log()[0].find("Error accepting a client connection: wrong version number (addr="),
            std::string::npos)
      << log()[0];
  EXPECT_LE(log().size(), 2u);
  for (int i = 0; i < 20; ++i) {
    TlsClient sealed(port_);
    EXPECT_FALSE(sealed.shake_hands());
  }
  EXPECT_TRUE(eventually([&] { return closes().size() == 40; }));
  EXPECT_LE(log().size(), 3u);
  std::this_thread::sleep_for(1100ms);
  TlsClient late(port_);
  EXPECT_FALSE(late.shake_hands());
  EXPECT_NE(log().back().find("A client speaks TLS to a port without TLS (addr=127.0.0.1:"),
            std::string::npos);
  EXPECT_NE(log().back().find(" more before it"), std::string::npos);
}

// Aim: whose certificate is wanted, whose is taken.
TEST_F(TlsTest, AsksForCertificatesAsItIsTold) {
  Authority other(dir_, "other");
  const Identity none;
  const Identity good = authority_->issue("client");
  const Identity strange = other.issue("stranger");
  struct Case {
    ClientCertificates wanted;
    const Identity& shown;
    bool taken;
  };
  start_tls();
  for (const Case& each : {Case{ClientCertificates::kRequired, none, false},
                           Case{ClientCertificates::kRequired, strange, false},
                           Case{ClientCertificates::kRequired, good, true},
                           Case{ClientCertificates::kOptional, none, true},
                           Case{ClientCertificates::kOptional, strange, false},
                           Case{ClientCertificates::kOptional, good, true},
                           Case{ClientCertificates::kNotAsked, none, true},
                           Case{ClientCertificates::kNotAsked, strange, true}}) {
    TlsOptions changed = options();
    changed.client_certificates = each.wanted;
    listener_->set_tls(context(changed));
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      TlsClientOptions how = trusting();
      how.identity = each.shown;
      how.version = version;
      TlsClient client(tls_port_, how);
      const bool served = client.shake_hands() && client.echoes("hello");
      EXPECT_EQ(served, each.taken)
          << static_cast<int>(each.wanted) << " '" << each.shown.cert_file << "' " << version;
    }
  }
  EXPECT_NE(log().at(0).find("peer did not return a certificate"), std::string::npos) << log()[0];
}

// Aim: a new certificate is for new connections; old ones go on.
TEST_F(TlsTest, ShowsTheNewCertificateToNewClients) {
  start_tls();
  TlsClient old(tls_port_, trusting());
  ASSERT_TRUE(old.shake_hands());
  EXPECT_EQ(old.server_name(), "server");
  const Identity next = authority_->issue("renewed");
  TlsOptions changed = options();
  changed.cert_file = next.cert_file;
  changed.key_file = next.key_file;
  listener_->set_tls(context(changed));
  TlsClient fresh(tls_port_, trusting());
  ASSERT_TRUE(fresh.shake_hands());
  EXPECT_EQ(fresh.server_name(), "renewed");
  EXPECT_TRUE(fresh.echoes("new"));
  EXPECT_TRUE(old.echoes("old"));
}

// Aim: a session is resumed where that is allowed, and nowhere else; not across a change either.
TEST_F(TlsTest, ResumesSessionsWhereAllowed) {
  start_tls();
  bool got_ticket = false;
  const auto resumes = [&](int version, const std::function<void()>& between) {
    TlsClientOptions how = trusting();
    how.version = version;
    TlsClient first(tls_port_, how);
    EXPECT_TRUE(first.shake_hands() && first.echoes("first"));
    first.say_farewell();
    first.told_farewell();
    const std::unique_ptr<SSL_SESSION, FreeBy<SSL_SESSION_free>> session(
        SSL_get1_session(first.ssl()));
    got_ticket = SSL_SESSION_has_ticket(session.get()) == 1;
    between();
    how.session = session.get();
    TlsClient second(tls_port_, how);
    EXPECT_TRUE(second.shake_hands() && second.echoes("second"));
    return SSL_session_reused(second.ssl()) == 1;
  };
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    EXPECT_TRUE(resumes(version, [] {}));
    EXPECT_FALSE(resumes(version, [&] { listener_->set_tls(context(options())); }));
    TlsOptions forgetful = options();
    forgetful.session_caching = false;
    listener_->set_tls(context(forgetful));
    EXPECT_FALSE(resumes(version, [] {}));
    EXPECT_FALSE(got_ticket);
    listener_->set_tls(context(options()));
  }
}

// Aim: however many shake hands at once, others wait for few of them in a turn.
TEST_F(TlsTest, FewHandshakesInATurn) {
  start_tls();
  std::vector<std::unique_ptr<TlsClient>> clients;
  std::vector<std::string> last;  // of each handshake, and a request
  for (int i = 0; i < 30; ++i) {
    TlsClientOptions how = trusting();
    how.version = TLS1_3_VERSION;
    clients.push_back(std::make_unique<TlsClient>(tls_port_, how));
    TlsClient& client = *clients.back();
    client.raw.send(client.handshake_bytes());
    while (SSL_is_init_finished(client.ssl()) == 0) {
      const std::string answer = client.raw.some();
      BIO_write(SSL_get_rbio(client.ssl()), answer.data(), static_cast<int>(answer.size()));
      last.resize(clients.size());
      last.back() += client.handshake_bytes();
    }
    last.back() += client.sealed("hello\n");
  }
  int most = 0;
  int before = 0;
  on_thread([&](Reactor& reactor) {
    reactor.set_turn_end([&] {
      most = std::max(most, journal_.inputs - before);
      before = journal_.inputs;
    });
  });
  const auto go_on = freeze();
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i]->raw.send(last[i]);
  }
  go_on->set_value();
  for (const auto& client : clients) {
    EXPECT_EQ(client->receive(6), "hello\n");
  }
  on_thread([](Reactor& reactor) { reactor.set_turn_end({}); });
  EXPECT_GT(most, 0);
  EXPECT_LE(most, Reactor::kHandshakesPerTurn);
}

// Aim: a client that has no place hears nothing, one of another machine in protected mode hears why
// as soon as it can, and both are counted.
TEST_F(TlsTest, TurnsClientsAway) {
  start_tls();
  const auto nobody = [](const sockaddr&) { return false; };
  Listener wide({&loops_[0]->reactor}, gate_, [](std::string_view) {});
  on_thread([&](Reactor&) {
    ASSERT_FALSE(wide.open({.bind = {"127.0.0.1"},
                            .port = 0,
                            .any_tls_port = true,
                            .tls = context(options()),
                            .is_local = nobody}));
  });
  gate_.set_local_only(true);
  TlsClient outside(wide.tls_port(), trusting());
  ASSERT_TRUE(outside.shake_hands());
  const std::string refusal = outside.receive(2000);
  EXPECT_TRUE(refusal.starts_with("-DENIED Atoll is running in protected mode because "));
  EXPECT_TRUE(refusal.ends_with("\r\n"));
  EXPECT_TRUE(outside.told_farewell());
  EXPECT_EQ(wide.refused(), 1u);
  EXPECT_TRUE(eventually([&] { return gate_.open() == 0; }));
  gate_.set_limit(0);
  TlsClient surplus(tls_port_, trusting());
  EXPECT_FALSE(surplus.shake_hands());
  EXPECT_EQ(listener_->refused(), 1u);
  on_thread([&](Reactor&) { wide.close(); });
}

TEST_F(TlsTest, IdleClientsAreClosed) {
  ReactorSettings settings;
  settings.idle_timeout = 1s;
  start_tls(settings);
  TlsClient idle(tls_port_, trusting());
  ASSERT_TRUE(idle.shake_hands());
  EXPECT_TRUE(closed_with(CloseReason::kIdle));
  EXPECT_TRUE(idle.told_farewell());
}

// Aim: options that cannot be are refused with the line to mend, and say why.
TEST_F(TlsTest, NamesTheOptionAtFault) {
  Authority other(dir_, "other");
  const Identity strange = other.issue("stranger");
  const Identity locked = authority_->issue("locked", "secret");
  const std::string nonsense = (dir_ / "nonsense.pem").string();
  std::ofstream(nonsense) << "no PEM at all\n";
  struct Case {
    std::function<void(TlsOptions&)> spoil;
    std::string option;
    std::string reason;  // a part of it
  };
  const std::vector<Case> cases = {
      {[](TlsOptions& o) { o.cert_file.clear(); }, "tls-cert-file", "set tls-cert-file"},
      {[](TlsOptions& o) { o.cert_file = "/no/cert"; }, "tls-cert-file",
       "tls-cert-file '/no/cert': No such file or directory"},
      {[&](TlsOptions& o) { o.cert_file = nonsense; }, "tls-cert-file", "no start line"},
      {[](TlsOptions& o) { o.key_file.clear(); }, "tls-key-file", "set tls-key-file"},
      {[](TlsOptions& o) { o.key_file = "/no/key"; }, "tls-key-file", "No such file or directory"},
      {[&](TlsOptions& o) { o.key_file = nonsense; }, "tls-key-file", nonsense},
      {[&](TlsOptions& o) { o.key_file = strange.key_file; }, "tls-key-file",
       "is not the key of the certificate in tls-cert-file"},
      {[&](TlsOptions& o) {
         o.cert_file = locked.cert_file;
         o.key_file = locked.key_file;
       },
       "tls-key-file", "tls-key-file-pass"},
      {[](TlsOptions& o) {
         o.ca_cert_file.clear();
         o.client_certificates = ClientCertificates::kRequired;
       },
       "tls-ca-cert-file", "tls-auth-clients to no"},
      {[](TlsOptions& o) { o.ca_cert_file = "/no/ca"; }, "tls-ca-cert-file",
       "tls-ca-cert-file '/no/ca': No such file or directory"},
      {[&](TlsOptions& o) { o.ca_cert_file = nonsense; }, "tls-ca-cert-file", nonsense},
      {[](TlsOptions& o) { o.ca_cert_dir = "/no/dir"; }, "tls-ca-cert-dir",
       "No such file or directory"},
      {[](TlsOptions& o) { o.ciphers = "rot13"; }, "tls-ciphers", "no cipher match"},
      {[](TlsOptions& o) { o.ciphersuites = "rot13"; }, "tls-ciphersuites", "no cipher match"},
      {[&](TlsOptions& o) { o.dh_params_file = nonsense; }, "tls-dh-params-file", nonsense},
  };
  for (const Case& each : cases) {
    TlsOptions spoilt = options();
    each.spoil(spoilt);
    const TlsContext::Made made = TlsContext::make(spoilt);
    const auto* fault = std::get_if<TlsFault>(&made);
    ASSERT_NE(fault, nullptr) << each.option << ' ' << each.reason;
    EXPECT_EQ(fault->option, each.option) << fault->reason;
    EXPECT_NE(fault->reason.find(each.reason), std::string::npos) << fault->reason;
  }
  TlsOptions opened = options();
  opened.cert_file = locked.cert_file;
  opened.key_file = locked.key_file;
  opened.key_file_pass = "secret";
  EXPECT_NE(context(opened), nullptr);
}

// Aim: protocols and ciphers are those that were asked for.
TEST_F(TlsTest, SpeaksWhatItIsTold) {
  start_tls();
  TlsOptions changed = options();
  changed.protocols = "TLSv1.2";
  changed.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305";
  changed.prefer_server_ciphers = true;
  listener_->set_tls(context(changed));
  TlsClient older(tls_port_, trusting());
  ASSERT_TRUE(older.shake_hands());
  EXPECT_EQ(SSL_version(older.ssl()), TLS1_2_VERSION);
  EXPECT_STREQ(SSL_get_cipher(older.ssl()), "ECDHE-ECDSA-AES256-GCM-SHA384");
  changed.protocols = "tlsv1.3";
  changed.ciphersuites = "TLS_CHACHA20_POLY1305_SHA256";
  listener_->set_tls(context(changed));
  TlsClientOptions how = trusting();
  how.version = TLS1_2_VERSION;
  TlsClient refused(tls_port_, how);
  EXPECT_FALSE(refused.shake_hands());
  TlsClient newer(tls_port_, trusting());
  ASSERT_TRUE(newer.shake_hands());
  EXPECT_STREQ(SSL_get_cipher(newer.ssl()), "TLS_CHACHA20_POLY1305_SHA256");
}

}  // namespace
}  // namespace atl::net
