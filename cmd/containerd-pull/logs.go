package main

import (
	"io"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/containerd-pull/containerd-pull/pkg/config"
)

// routeLogs sends what containerd's packages log above the progress instead of
// through it. The returned function undoes it.
func routeLogs(w io.Writer, cfg *config.Config) func() {
	logger := logrus.StandardLogger()
	level, formatter := logger.GetLevel(), logger.Formatter
	logger.SetOutput(w)
	logger.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	logger.SetLevel(logLevel(cfg))
	return func() {
		logger.SetOutput(os.Stderr)
		logger.SetFormatter(formatter)
		logger.SetLevel(level)
	}
}

// logLevel leaves out containerd's warnings: they concern how its packages are
// set up, which is our business, while what concerns the user is an event.
func logLevel(cfg *config.Config) logrus.Level {
	if cfg.Debug {
		return logrus.DebugLevel
	}
	return logrus.ErrorLevel
}
