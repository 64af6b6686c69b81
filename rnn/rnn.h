// Gated recurrent cells and the recurrences of linear attention.
#pragma once

#include <rill/rnn/deltanet.h>
#include <rill/rnn/gla.h>
#include <rill/rnn/gru.h>
#include <rill/rnn/gru_op.h>
#include <rill/rnn/lstm.h>
#include <rill/rnn/lstm_op.h>
#include <rill/rnn/mingru.h>
#include <rill/rnn/mlstm.h>
#include <rill/rnn/retnet.h>
