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

func logLevel(cfg *config.Config) logrus.Level {
	switch {
	case cfg.Debug:
		return logrus.DebugLevel
	case cfg.Quiet:
		return logrus.ErrorLevel
	}
	return logrus.WarnLevel
}
